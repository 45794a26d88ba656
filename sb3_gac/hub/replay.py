"""What a model does: its returns, and a film of an episode."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.normalization import normalize_env
from sb3_gac.random_state import fork_random_state

DEFAULT_FPS = 30


@dataclass(frozen=True)
class Evaluation:
    """
    Returns of whole episodes.

    :param returns: Undiscounted returns in env units, of shape ``(n_episodes,)``.
    :param lengths: Steps of the episodes, of shape ``(n_episodes,)``.
    :param seed: Seed of the environment, and of a policy that explores.
    :param is_deterministic: Whether the policy exploited.
    :param reference_returns: Returns that are 0 and 100 on the normalised scale, such as those of a random policy and of an
        expert; ``None`` where they are not known.
    """

    returns: np.ndarray
    lengths: np.ndarray
    seed: int
    is_deterministic: bool
    reference_returns: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """Mean return in env units."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns over the episodes."""
        return float(self.returns.std())

    @property
    def normalized_score(self) -> float | None:
        """The mean on the scale where the references are 0 and 100."""
        if self.reference_returns is None:
            return None
        low, high = self.reference_returns
        return 100.0 * (self.mean - low) / (high - low)


def check_references(reference_returns: tuple[float, float] | None) -> None:
    """
    Refuse reference returns that make no scale.

    :param reference_returns: See :class:`Evaluation`.
    :raises ValueError: when they are not two numbers, the lower one first.
    """
    if reference_returns is None:
        return
    if not (
        len(reference_returns) == 2 and np.isfinite(reference_returns).all() and reference_returns[0] < reference_returns[1]
    ):
        raise ValueError(f"reference_returns must be two numbers, the lower one first, got {reference_returns}")


def find_spec(env: GymEnv | str) -> EnvSpec | None:
    """
    What an environment is registered as, without the ``Monitor`` around it; ``None`` where it is not registered.

    :param env: The environment, or its id.
    """
    if isinstance(env, str):
        return gym.spec(env)
    spec = env.get_attr("spec")[0] if isinstance(env, VecEnv) else env.spec
    if not isinstance(spec, EnvSpec):
        return None
    return replace(spec, additional_wrappers=tuple(w for w in spec.additional_wrappers if w.name != Monitor.__name__))


def evaluate(
    model: GAC,
    env: GymEnv | str,
    normalization: Any,
    n_episodes: int,
    seed: int,
    deterministic: bool,
    reference_returns: tuple[float, float] | None = None,
    progress_bar: bool = False,
) -> Evaluation:
    """
    Play whole episodes.

    :param model: The model.
    :param env: See :func:`open_env`.
    :param normalization: What :func:`~sb3_gac.hub.normalization.normalizer_to_plain` returned, or ``None``.
    :param n_episodes: Number of episodes.
    :param seed: Seed of the environment, and of a policy that explores.
    :param deterministic: Whether to exploit or to explore.
    :param reference_returns: See :class:`Evaluation`.
    :param progress_bar: Whether to show a progress bar.
    """
    if progress_bar:
        from tqdm.auto import tqdm
    with open_env(model, env, normalization, render_mode=None) as venv, _seeded(model, venv, seed):
        bar = tqdm(total=n_episodes, desc="evaluating", unit="episode") if progress_bar else None

        def on_step(names: dict[str, Any], _: dict[str, Any]) -> None:
            if bar is not None:
                bar.update(len(names["episode_rewards"]) - bar.n)

        returns, lengths = evaluate_policy(
            model, venv, n_episodes, deterministic, callback=on_step, return_episode_rewards=True, warn=False
        )
        if bar is not None:
            bar.update(n_episodes - bar.n)
            bar.close()
    return Evaluation(np.array(returns), np.array(lengths), seed, deterministic, reference_returns)


def record_replay(
    model: GAC, env: GymEnv | str, normalization: Any, file: Path, seed: int, deterministic: bool, max_steps: int = 1000
) -> str | None:
    """
    Film an episode, unless something is missing for it.

    :param model: The model.
    :param env: See :func:`open_env`.
    :param normalization: See :func:`evaluate`.
    :param file: The mp4 file.
    :param seed: Seed of the environment, and of a policy that explores.
    :param deterministic: Whether to exploit or to explore.
    :param max_steps: Steps after which the film ends.
    :return: ``None``, or why there is no film.
    """
    try:
        require("hub", "imageio_ffmpeg")
        with open_env(model, env, normalization, render_mode="rgb_array") as venv, _seeded(model, venv, seed):
            if venv.render_mode != "rgb_array":
                return "the environment renders no images"
            _film(model, venv, file, deterministic, max_steps)
    except Exception as error:  # renderers, their drivers and ffmpeg fail in ways of their own, and a film is no condition
        file.unlink(missing_ok=True)
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


@contextmanager
def open_env(model: GAC, env: GymEnv | str, normalization: Any, render_mode: str | None) -> Iterator[VecEnv]:
    """
    An environment to play in, as the model knows it, with rewards as they are and statistics that stay.

    :param model: The model.
    :param env: An id or a registered environment, of which a new one is made and closed; or any other environment and
        ``VecEnv``, which is played in itself and stays open.
    :param normalization: See :func:`evaluate`.
    :param render_mode: Render mode of a new environment.
    """
    spec = None if isinstance(env, VecEnv) else find_spec(env)
    # Wrappers do not all know how they were made
    if spec is not None and all(wrapper.kwargs is not None for wrapper in spec.additional_wrappers):
        new = gym.make(spec, render_mode=render_mode)
        try:
            yield _dress(model, new, normalization)
        finally:
            new.close()
        return
    assert not isinstance(env, str)
    venv = _dress(model, env, normalization)
    normalizer = unwrap_vec_normalize(venv)
    settings = None if normalizer is None else (normalizer.training, normalizer.norm_reward)
    try:
        if normalizer is not None:
            normalizer.training = normalizer.norm_reward = False
        yield venv
    finally:
        if normalizer is not None and settings is not None:
            normalizer.training, normalizer.norm_reward = settings
        if model.env is not None:  # its episodes under way may have been played to an end
            model.set_env(model.env)


def _dress(model: GAC, env: GymEnv, normalization: Any) -> VecEnv:
    return model._wrap_env(env if normalization is None else normalize_env(env, normalization), verbose=0)


@contextmanager
def _seeded(model: GAC, venv: VecEnv, seed: int) -> Iterator[None]:
    """The same starts and samples for the same seed; the random numbers of training are left alone."""
    venv.seed(seed)
    with fork_random_state(seed, model.device):
        yield


def _film(model: GAC, venv: VecEnv, file: Path, deterministic: bool, max_steps: int) -> None:
    from imageio_ffmpeg import write_frames

    observations = venv.reset()
    frame = _frame(venv)
    height, width, _ = frame.shape
    fps = venv.metadata.get("render_fps") or DEFAULT_FPS
    # Browsers play no other pixels than these, which need even sizes
    writer = write_frames(file, (width, height), fps=fps, codec="libx264", macro_block_size=2, ffmpeg_log_level="error")
    writer.send(None)
    try:
        writer.send(frame)
        state: Any = None
        starts = np.ones(venv.num_envs, dtype=bool)
        for _ in range(max_steps):
            actions, state = model.predict(observations, state, starts, deterministic)  # type: ignore[arg-type]
            observations, _, starts, _ = venv.step(actions)
            if starts[0]:  # what would be seen is the start of the next episode
                break
            writer.send(_frame(venv))
    finally:
        writer.close()


def _frame(venv: VecEnv) -> np.ndarray:
    frame = venv.get_images()[0]
    if frame is None:
        raise ValueError("the environment renders no images")
    return np.ascontiguousarray(frame[..., :3], dtype=np.uint8)
