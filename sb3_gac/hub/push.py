"""Models on the Hugging Face Hub."""

import fnmatch
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.envs.registration import EnvSpec, load_env_creator
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_gac.evaluation import play
from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.card import CARD_FILE, CURVE_FILE, VIDEO_FILE, CardContent, make_card
from sb3_gac.hub.film import Film
from sb3_gac.hub.normalization import find_normalization, normalize_env
from sb3_gac.hub.safe import MODEL_FILE, WEIGHTS_FILES, describe, is_safe, load_safe, write_safe
from sb3_gac.hub.transfer import HubError, explained, is_offline, is_transient, with_retries
from sb3_gac.plots.curve import Curve, plot_curves, read_curve
from sb3_gac.plots.figure import save_figure

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# What a push replaces; other files of the repository are left alone
_OURS = (MODEL_FILE, WEIGHTS_FILES, CARD_FILE, CURVE_FILE, VIDEO_FILE)


def push_to_hub(
    model: GAC,
    repo_id: str,
    env: GymEnv | str,
    *,
    dataset: str | None = None,
    learning_curve: str | Path | None = None,
    n_eval_episodes: int = 10,
    seed: int = 0,
    deterministic: bool = True,
    video_steps: int = 1000,
    license: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """
    Evaluate a model and share it on the Hugging Face Hub, with a card that tells how well it does and how to use it.

    All files come in one commit: when it fails, what is on the Hub stays as it is. Requests are made again, for about
    15 seconds, while the network or the Hub fail.

    :param model: The model.
    :param repo_id: The repository, ``"user/name"``; it is made if there is none.
    :param env: Environment to evaluate the model in: its id, or one like that it learnt in, which is played in itself. One
        that renders ``"rgb_array"`` is filmed.
    :param dataset: Name of the data set that the model has learnt from, for the card.
    :param learning_curve: The ``evaluations.npz`` of an ``EvalCallback``, the ``progress.csv`` of a logger, or the folder of
        one of them; ``None`` for a card without a learning curve.
    :param n_eval_episodes: Episodes of the evaluation.
    :param seed: Seed of the evaluation.
    :param deterministic: Whether to exploit or to explore in it.
    :param video_steps: Steps after which the film of an episode ends; 0 for no film.
    :param license: Licence of the model, as the Hub names it: ``"mit"``.
    :param private: Whether a new repository is private; ``None`` for what the Hub does by default.
    :param revision: Branch to push to, made from the main one if there is none; ``None`` for the main one.
    :param commit_message: Message of the commit.
    :param token: Token of the Hub; by default the one of ``hf auth login`` or of the environment variable ``HF_TOKEN``.
    :param endpoint: Address of the Hub; by default that of the environment variable ``HF_ENDPOINT``.
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
    curve = None if learning_curve is None else read_curve(learning_curve)
    description, tensors = describe(model)
    playing = _make(env, video_steps > 0) if isinstance(env, str) else env
    api = HfApi(endpoint=endpoint, token=token)
    failed = f"sb3_gac.save_safe(model, path) saves without the Hub: {repo_id} was not pushed, no file of it has changed"
    try:
        with explained(failed):
            with_retries(api.whoami)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_safe(description, tensors, folder)
            film = Film(folder / VIDEO_FILE, video_steps)
            normalization = find_normalization(model) if model.get_vec_normalize_env() is None else None
            known = playing if normalization is None else normalize_env(playing, normalization)
            trajectories = play(model, known, n_eval_episodes, seed, deterministic, on_step=film.record)
            film.close()
            spec = _find_spec(playing)
            name = _name(playing) if spec is None else spec.id
            content = CardContent(
                repo_id=repo_id,
                description=description,
                env_name=name,
                spec=spec,
                returns=np.array([trajectory.total_return for trajectory in trajectories]),
                lengths=np.array([len(trajectory) for trajectory in trajectories]),
                seed=seed,
                deterministic=deterministic,
                no_curve="none was given" if curve is None else _draw(curve, f"GAC on {name}", folder / CURVE_FILE),
                no_video=film.missing,
                dataset=dataset,
                license=license,
                revision=revision,
            )
            (folder / CARD_FILE).write_text(make_card(content), encoding="utf-8")
            message = commit_message or f"GAC on {name}, mean return {content.returns.mean():.2f}"
            with explained(failed):
                return _commit(api, repo_id, private, revision, folder, message)
    finally:
        if playing is not env:
            playing.close()


def load_from_hub(
    repo_id: str,
    revision: str | None = None,
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    *,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    **kwargs: Any,
) -> GAC:
    """
    Load a model from the Hugging Face Hub; no code of the repository runs.

    Where the Hub cannot be reached, or ``HF_HUB_OFFLINE`` says not to, the version downloaded last is loaded, with a warning.

    :param repo_id: The repository, ``"user/name"``.
    :param revision: Branch, tag or commit; ``None`` for the main branch.
    :param env: See :func:`~sb3_gac.hub.safe.load_safe`.
    :param device: PyTorch device.
    :param token: Token of the Hub; needed for private repositories.
    :param endpoint: Address of the Hub; by default that of the environment variable ``HF_ENDPOINT``.
    :param cache_dir: Where downloads are kept; by default where ``huggingface_hub`` keeps them.
    :param kwargs: Constructor arguments that replace those saved.
    :raises HubError: when the Hub cannot be reached or refuses, or the repository holds no such model.
    :raises ValueError: when a file is damaged, was made by another version, or does not fit the environment.
    """
    require("hub", "huggingface_hub", "safetensors")
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi(endpoint=endpoint, token=token)
    options: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": [MODEL_FILE, WEIGHTS_FILES],
        "token": token,
        "endpoint": endpoint,
        "cache_dir": cache_dir,
    }
    with explained(f"{repo_id} was not loaded"):
        try:
            with_retries(lambda: api.model_info(repo_id, revision=revision))
        except Exception as error:
            if not (is_transient(error) or is_offline(error)):
                raise
            try:
                folder = Path(snapshot_download(repo_id, local_files_only=True, **options))
            except OSError:  # nothing was downloaded before
                raise error from None
            warnings.warn(f"the Hub cannot be reached: {repo_id} is loaded as it was downloaded last", stacklevel=2)
        else:
            folder = Path(with_retries(lambda: snapshot_download(repo_id, **options)))
    if not is_safe(folder):
        raise HubError(f"{repo_id} holds no model of push_to_hub: {MODEL_FILE} is missing")
    return load_safe(folder, env, device, **kwargs)


def _make(env_id: str, renders: bool) -> gym.Env[Any, Any]:
    creator = gym.spec(env_id).entry_point
    metadata = getattr(load_env_creator(creator) if isinstance(creator, str) else creator, "metadata", {})
    modes = metadata.get("render_modes", ())
    return gym.make(env_id, render_mode="rgb_array" if renders and "rgb_array" in modes else None)


def _find_spec(env: GymEnv) -> EnvSpec | None:
    spec = env.get_attr("spec")[0] if isinstance(env, VecEnv) else env.spec
    return spec if isinstance(spec, EnvSpec) else None


def _name(env: GymEnv) -> str:
    inner = env.get_attr("unwrapped")[0] if isinstance(env, VecEnv) else env.unwrapped
    return type(inner).__name__


def _draw(curve: Curve, title: str, file: Path) -> str:
    """Draw a learning curve; why there is none, where Matplotlib is missing."""
    try:
        save_figure(plot_curves({"GAC": curve}, title), file)
    except ImportError as error:
        return str(error)
    return ""


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

    with_retries(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
    if private and not with_retries(lambda: api.model_info(repo_id)).private:
        raise HubError(f"{repo_id} exists and is public: nothing was pushed. Make it private first, or take another name.")
    if revision is not None:
        with_retries(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True))
    return with_retries(commit)
