"""Models on the Hugging Face Hub."""

import fnmatch
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_gac.data.minari import open_minari
from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.card import CARD_FILE, CURVE_FILE, VIDEO_FILE, CardContent, dataset_name, make_card
from sb3_gac.hub.curve import draw_curve, read_curve
from sb3_gac.hub.description import MODEL_FILE, WEIGHTS_FILE, describe, find_normalizer, is_safe, keep_normalization
from sb3_gac.hub.normalization import normalize_env, normalizer_to_plain, vectorize
from sb3_gac.hub.replay import check_references, evaluate, find_spec, record_replay
from sb3_gac.hub.safe import load_safe, write_safe
from sb3_gac.hub.transfer import HubError, explain, is_offline, is_transient, with_retries
from sb3_gac.offline_env import OfflineVecEnv

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# The RL Zoo looks for these names
ZIP_PATTERN, NORMALIZER_FILE = "gac-*.zip", "vec_normalize.pkl"
# What a push replaces; other files of the repository are left alone
_OURS = (MODEL_FILE, WEIGHTS_FILE, CARD_FILE, CURVE_FILE, VIDEO_FILE, NORMALIZER_FILE, ZIP_PATTERN)


def push_to_hub(
    model: GAC,
    repo_id: str,
    env: GymEnv | str,
    *,
    dataset: str | Path | None = None,
    private: bool | None = None,
    revision: str | None = None,
    n_eval_episodes: int = 10,
    seed: int = 0,
    deterministic: bool = True,
    reference_returns: tuple[float, float] | None = None,
    learning_curve: str | Path | None = None,
    video_steps: int = 1000,
    license: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    progress_bar: bool = False,
) -> str:
    """
    Evaluate a model and share it on the Hugging Face Hub, with a card that tells how well it does and how to use it.

    All files come in one commit: when it fails, what is on the Hub stays as it is. Requests are made again, for about
    15 seconds, while the network or the Hub fail.

    :param model: The model.
    :param repo_id: The repository, ``"user/name"``; it is made if there is none.
    :param env: Environment to evaluate the model in: its id, or one like that it learnt in. A registered environment is
        made anew; a ``VecEnv``, or one that is not registered, is itself reset and played in.
    :param dataset: Minari id, or path, of the data set that the model has learnt from; the card names it.
    :param private: Whether a new repository is private; ``None`` for what the Hub does by default.
    :param revision: Branch to push to, made from the main one if there is none; ``None`` for the main one.
    :param n_eval_episodes: Episodes of the evaluation.
    :param seed: Seed of the evaluation.
    :param deterministic: Whether to exploit or to explore in it.
    :param reference_returns: Returns that are 0 and 100 on the normalised scale; by default those that an installed Minari
        data set names.
    :param learning_curve: The ``evaluations.npz`` of an ``EvalCallback``, or the folder of it or of the files of a
        ``Monitor``; by default the last episodes that the model has learnt in.
    :param video_steps: Steps after which the film of an episode ends; 0 for no film.
    :param license: Licence of the model, as the Hub names it: ``"mit"``.
    :param commit_message: Message of the commit.
    :param token: Token of the Hub; by default the one of ``hf auth login`` or of the environment variable ``HF_TOKEN``.
    :param endpoint: Address of the Hub; by default that of the environment variable ``HF_ENDPOINT``.
    :param progress_bar: Whether to show the progress of the evaluation.
    :return: Address of the commit.
    :raises ValueError: when an argument is wrong, or the model has one that plain JSON cannot hold; nothing was done then.
    :raises HubError: when the Hub cannot be reached or refuses; the message says what to do.
    """
    require("hub", "huggingface_hub", "safetensors")
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    validate_repo_id(repo_id)
    if "/" not in repo_id:
        raise ValueError(f"repo_id must be 'user/name', got {repo_id!r}")
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes must be at least 1, got {n_eval_episodes}")
    curve = read_curve(learning_curve, model)
    description = describe(model, None if isinstance(env, str) else env)
    normalization = description["normalization"]
    spec = find_spec(env)
    name = _env_name(env) if spec is None else spec.id
    reference_returns = reference_returns or _minari_references(dataset)
    check_references(reference_returns)
    api = HfApi(endpoint=endpoint, token=token)
    try:
        with_retries(api.whoami, "asking who is logged in")
    except Exception as error:
        raise HubError(f"{repo_id} was not pushed: {explain(error, writes=True)}") from error

    zip_file = ZIP_PATTERN.replace("*", name.replace("/", "-").split(":")[-1])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_safe(model, description, folder)
        model.save(folder / zip_file, exclude=["tensorboard_log"])
        normalizer = find_normalizer(model, None if isinstance(env, str) else env)
        if normalizer is None and normalization is not None:  # the model was loaded without an environment to have it
            stand_in = normalize_env(OfflineVecEnv(model.observation_space, model.action_space), normalization)
            normalizer = unwrap_vec_normalize(stand_in)
        if normalizer is not None:
            normalizer.save(str(folder / NORMALIZER_FILE))
        evaluation = evaluate(model, env, normalization, n_eval_episodes, seed, deterministic, reference_returns, progress_bar)
        no_video: str | None = "none was asked for"
        if video_steps > 0:
            no_video = record_replay(model, env, normalization, folder / VIDEO_FILE, seed, deterministic, video_steps)
        no_curve: str | None = "none was given, and the model does not know the episodes that it has learnt in"
        if curve is not None:
            no_curve = draw_curve(curve, f"GAC on {name}", folder / CURVE_FILE)
        content = CardContent(
            repo_id=repo_id,
            revision=revision,
            env_name=name,
            spec=spec,
            description=description,
            evaluation=evaluation,
            dataset=dataset_name(dataset),
            zip_file=zip_file,
            no_curve=no_curve,
            no_video=no_video,
            video_url=f"{api.endpoint}/{repo_id}/resolve/{revision or 'main'}/{VIDEO_FILE}",
            license=license,
        )
        (folder / CARD_FILE).write_text(make_card(content), encoding="utf-8")
        message = commit_message or f"GAC on {name}, mean return {evaluation.mean:.2f}"
        return _commit(api, repo_id, private, revision, folder, message)


def load_from_hub(
    repo_id: str,
    revision: str | None = None,
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    *,
    trust_pickle: bool = False,
    filename: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    **kwargs: Any,
) -> GAC:
    """
    Load a model from the Hugging Face Hub; no code of the repository runs, unless you trust its pickles.

    Where the Hub cannot be reached, or ``HF_HUB_OFFLINE`` says not to, the version downloaded last is loaded, with a warning.

    :param repo_id: The repository, ``"user/name"``.
    :param revision: Branch, tag or commit; ``None`` for the main branch.
    :param env: See :func:`~sb3_gac.hub.safe.load_safe`.
    :param device: PyTorch device.
    :param trust_pickle: Whether to load the archive of Stable-Baselines3 instead. It is a pickle: it can run any code on
        your machine.
    :param filename: Name of this archive, where there are several.
    :param token: Token of the Hub; needed for private repositories.
    :param endpoint: Address of the Hub; by default that of the environment variable ``HF_ENDPOINT``.
    :param cache_dir: Where downloads are kept; by default where ``huggingface_hub`` keeps them.
    :param kwargs: Constructor arguments that replace those saved.
    :raises HubError: when the Hub cannot be reached or refuses, or the repository holds no such model.
    :raises ValueError: when a file is damaged, was made by a newer version, or does not fit the environment.
    """
    require("hub", "huggingface_hub", "safetensors")
    if filename is not None and not trust_pickle:
        raise ValueError("filename names an archive of Stable-Baselines3, a pickle: it needs trust_pickle=True")
    patterns = [filename or "*.zip", NORMALIZER_FILE] if trust_pickle else [MODEL_FILE, WEIGHTS_FILE]
    folder, names = _download(repo_id, revision, patterns, token, endpoint, cache_dir)
    if trust_pickle:
        return _load_zip(repo_id, folder, filename, env, device, kwargs)
    if not is_safe(folder):
        archives = [name for name in names if name.endswith(".zip")]
        hint = (
            f"; there is the pickle {archives[0]}, which trust_pickle=True loads if you trust who made it" if archives else ""
        )
        raise HubError(f"{repo_id} holds no model that loads without trust ({MODEL_FILE}){hint}")
    return load_safe(folder, env, device, **kwargs)


def _commit(api: "HfApi", repo_id: str, private: bool | None, revision: str | None, folder: Path, message: str) -> str:
    """Put the files of a folder into the repository, in one commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    new = sorted(path.name for path in folder.iterdir())

    def commit() -> str:
        # Made anew for every attempt: the commit before may have succeeded
        there = api.list_repo_files(repo_id, revision=revision)
        stale = [name for name in there if name not in new and any(fnmatch.fnmatch(name, pattern) for pattern in _OURS)]
        operations = [CommitOperationAdd(name, folder / name) for name in new]
        deletions = [CommitOperationDelete(name) for name in stale]
        return str(api.create_commit(repo_id, [*operations, *deletions], commit_message=message, revision=revision).commit_url)

    try:
        with_retries(lambda: api.create_repo(repo_id, private=private, exist_ok=True), "making the repository")
        if private and not with_retries(lambda: api.model_info(repo_id), "looking at the repository").private:
            raise HubError(f"{repo_id} exists and is public: nothing was pushed. Make it private first, or take another name.")
        if revision is not None:
            with_retries(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True), "making the branch")
        return with_retries(commit, "the upload")
    except HubError:
        raise
    except Exception as error:
        raise HubError(f"{repo_id} was not pushed, no file of it has changed: {explain(error, writes=True)}") from error


def _download(
    repo_id: str,
    revision: str | None,
    patterns: list[str],
    token: str | None,
    endpoint: str | None,
    cache_dir: str | Path | None,
) -> tuple[Path, list[str]]:
    """The folder with the files of one commit that match, and the names of all its files, as far as they are known."""
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi(endpoint=endpoint, token=token)
    options: dict[str, Any] = dict(allow_patterns=patterns, token=token, endpoint=endpoint, cache_dir=cache_dir)
    try:
        try:
            info = with_retries(lambda: api.model_info(repo_id, revision=revision), "asking for the repository")
        except Exception as error:
            if not (is_transient(error) or is_offline(error)):
                raise
            try:
                folder = Path(snapshot_download(repo_id, revision=revision, local_files_only=True, **options))
            except OSError:  # nothing was downloaded before
                raise error from None
            warnings.warn(f"the Hub cannot be reached: {repo_id} is loaded as it was downloaded last", stacklevel=3)
            return folder, []
        # By the name of the branch, under which it is looked for when there is no network
        folder = Path(with_retries(lambda: snapshot_download(repo_id, revision=revision, **options), "the download"))
    except Exception as error:
        raise HubError(f"{repo_id} was not loaded: {explain(error, writes=False)}") from error
    return folder, [sibling.rfilename for sibling in info.siblings or ()]


def _load_zip(
    repo_id: str, folder: Path, filename: str | None, env: GymEnv | None, device: th.device | str, kwargs: dict[str, Any]
) -> GAC:
    if filename is not None:
        archives = [folder / filename]
        if not archives[0].is_file():
            raise HubError(f"{repo_id} holds no archive {filename}")
    else:
        archives = [path for path in sorted(folder.glob("*.zip")) if path.name != "train_eval_metrics.zip"]  # the zoo's logs
    if len(archives) != 1:
        names = ", ".join(path.name for path in archives) or "none"
        raise HubError(f"{repo_id} should hold one archive of Stable-Baselines3 to load; give filename=... ({names} found)")
    normalizer = folder / NORMALIZER_FILE
    return load_archive(archives[0], normalizer if normalizer.is_file() else None, env, device, **kwargs)


def load_archive(
    archive: Path, normalizer: Path | None, env: GymEnv | None, device: th.device | str = "auto", **kwargs: Any
) -> GAC:
    """
    A model of ``GAC.save``, and the statistics of ``VecNormalize.save``. Both are pickles, which can run any code.

    :param archive: The archive.
    :param normalizer: File of the statistics, if the model was trained with any.
    :param env: Environment to act in, see :func:`~sb3_gac.hub.safe.load_safe`; ``None`` to keep the statistics for later.
    :param device: PyTorch device.
    :param kwargs: Constructor arguments that replace those saved.
    :raises ValueError: when the model or the statistics do not fit the environment.
    """
    if normalizer is None:
        return GAC.load(archive, env=env, device=device, **kwargs)
    if env is not None:
        env = vectorize(env)
        return GAC.load(archive, env=normalize_env(env, _read_statistics(normalizer, env)), device=device, **kwargs)
    model = GAC.load(archive, device=device, **kwargs)
    keep_normalization(model, _read_statistics(normalizer, OfflineVecEnv(model.observation_space, model.action_space)))
    return model


def _read_statistics(normalizer: Path, env: VecEnv) -> dict[str, Any]:
    """They can only be loaded into some environment."""
    return normalizer_to_plain(VecNormalize.load(str(normalizer), env))


def _env_name(env: GymEnv | str) -> str:
    inner = env.get_attr("unwrapped")[0] if isinstance(env, VecEnv) else env.unwrapped  # type: ignore[union-attr]
    return type(inner).__name__


def _minari_references(dataset: str | Path | None) -> tuple[float, float] | None:
    """Reference returns of an installed Minari data set, or ``None``."""
    if dataset is None:
        return None
    try:
        metadata = open_minari(dataset, download=False).storage.metadata
    except (ImportError, OSError, ValueError):
        # Not installed, nor h5py, or no data set of Minari at all: the card does without
        return None
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    return (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None
