"""Models on the Hugging Face Hub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.type_aliases import GymEnv

from sb3_gac.evaluation import play
from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.card import CARD_FILE, CURVE_FILE, MODEL_FILE, VIDEO_FILE, make_card
from sb3_gac.hub.film import Film
from sb3_gac.hub.safe import describe, load_safe, save_safe
from sb3_gac.plots.curve import plot_curves, read_curve
from sb3_gac.plots.figure import save_figure


class HubError(RuntimeError):
    """A request to the Hub failed; the message says what has not been done, and why."""


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
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """
    Evaluate a model and share it on the Hugging Face Hub, with a card that tells how well it does and how to use it.

    All files come in one commit: when it fails, what is on the Hub stays as it is.

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
    :param token: Token of the Hub; by default the one of ``hf auth login`` or of the environment variable ``HF_TOKEN``.
    :param endpoint: Address of the Hub; by default that of the environment variable ``HF_ENDPOINT``.
    :return: Address of the commit.
    :raises ValueError: when an argument is wrong, or the model has one that plain JSON cannot hold; nothing was done then.
    :raises HubError: when the Hub cannot be reached or refuses.
    """
    require("hub", "huggingface_hub", "safetensors", "matplotlib", "imageio_ffmpeg")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    validate_repo_id(repo_id)
    if "/" not in repo_id:
        raise ValueError(f"repo_id must be 'user/name', got {repo_id!r}")
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes must be at least 1, got {n_eval_episodes}")
    curve = None if learning_curve is None else read_curve(learning_curve)
    description, _ = describe(model)
    made = maybe_make_env(env, verbose=0)
    api = HfApi(endpoint=endpoint, token=token)
    failed = f"{repo_id} was not pushed, no file of it has changed; sb3_gac.save_safe(model, path) saves without the Hub"
    try:
        with _explained(failed):
            api.whoami()  # before the work
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            save_safe(model, folder / MODEL_FILE)
            vec_env = model._wrap_env(made, verbose=0)
            spec = vec_env.get_attr("spec")[0] or type(vec_env.get_attr("unwrapped")[0]).__name__
            film = Film(folder / VIDEO_FILE, video_steps if vec_env.render_mode == "rgb_array" else 0)
            trajectories = play(model, vec_env, n_eval_episodes, seed, deterministic, on_step=film.record)
            film.close()
            title = f"GAC on {getattr(spec, 'id', spec)}"
            if curve is not None:
                save_figure(plot_curves({"GAC": curve}, title), folder / CURVE_FILE)
            files = {file.name for file in folder.iterdir()} | {CARD_FILE}
            evaluation = f"{'exploiting' if deterministic else 'exploring'}, seed {seed}"
            card = make_card(repo_id, description, spec, trajectories, evaluation, sorted(files), dataset, license)
            (folder / CARD_FILE).write_text(card, encoding="utf-8")
            with _explained(failed):
                api.create_repo(repo_id, private=private, exist_ok=True)
                if private and not api.model_info(repo_id).private:
                    raise ValueError("it exists and is public; make it private first, or take another name")
                # Other files of the repository are left alone
                stale = {CURVE_FILE, VIDEO_FILE}.intersection(api.list_repo_files(repo_id)) - files
                operations: list[Any] = [CommitOperationAdd(name, folder / name) for name in sorted(files)]
                operations += [CommitOperationDelete(name) for name in sorted(stale)]
                return str(api.create_commit(repo_id, operations, commit_message=title).commit_url)
    finally:
        if made is not env:
            made.close()


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

    As always with ``huggingface_hub``, the version downloaded last is loaded where the Hub cannot be reached.

    :param repo_id: The repository, ``"user/name"``.
    :param revision: Branch, tag or commit; ``None`` for the main branch.
    :param env: See :func:`~sb3_gac.hub.safe.load_safe`.
    :param device: PyTorch device.
    :param token: Token of the Hub; needed for private repositories.
    :param endpoint: Address of the Hub; by default that of the environment variable ``HF_ENDPOINT``.
    :param cache_dir: Where downloads are kept; by default where ``huggingface_hub`` keeps them.
    :param kwargs: Constructor arguments that replace those saved.
    :raises HubError: when the Hub cannot be reached or refuses, or the repository holds no such model.
    :raises ValueError: when the file is damaged, was made by another version, or does not fit the environment.
    """
    require("hub", "huggingface_hub", "safetensors")
    from huggingface_hub import hf_hub_download

    with _explained(f"{repo_id} was not loaded"):
        file = hf_hub_download(repo_id, MODEL_FILE, revision=revision, token=token, endpoint=endpoint, cache_dir=cache_dir)
    return load_safe(file, env, device, **kwargs)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever requests raise becomes an error that says what has not been done."""
    try:
        yield
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = "; log in with `hf auth login`, or set HF_TOKEN to a token that may do this" if status in (401, 403) else ""
        raise HubError(f"{what}{advice}: {type(error).__name__}: {error}") from error
