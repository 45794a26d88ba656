"""Returns of a trained model, and how sure we are of their mean."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.envs import Task
from sb3_gac.extra import require

EnvBuilder: TypeAlias = Callable[[], gym.Env[Any, Any]]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_ENVS = 25
# Far from any seed of a training: both add the index of the environment to it
EVALUATION_SEED = 10_000


class Predictor(Protocol):
    """Whatever acts as an SB3 algorithm or policy does."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """
        Actions, and the state to pass with the next observations.

        :param observation: one per environment.
        :param state: what the last call returned; None at first.
        :param episode_start: whether an episode starts, one per environment.
        :param deterministic: whether to exploit.
        """


def evaluate(
    model: BaseAlgorithm | BasePolicy | Predictor,
    env: Task | EnvBuilder | VecEnv,
    n_episodes: int,
    seed: int,
    deterministic: bool = True,
    target_return: float | None = None,
    progress_bar: bool = False,
) -> Array:
    """
    Play whole episodes side by side and return the undiscounted return of each, in env units.

    How many episodes each environment plays is fixed beforehand: whoever counts the first ``n_episodes`` to end instead
    counts too many short ones. The same seed gives the same starts, and the training's random numbers are left alone.

    :param model: an SB3 algorithm or policy; what ``predict`` returns beside the actions is passed back to it.
    :param env: a task, or what builds one environment, to play in up to 25 copies; or a VecEnv, which is left open.
    :param n_episodes: number of episodes.
    :param seed: of the environments, and of a policy that samples.
    :param deterministic: whether to exploit or to explore.
    :param target_return: return asked for in env units, for policies whose ``predict`` takes one.
    :param progress_bar: whether to show one.
    :return: shape ``(n_episodes,)``, environment by environment.
    :raises ValueError: when there is no episode to play.
    """
    if n_episodes < 1:
        raise ValueError(f"an evaluation needs a positive number of episodes, not {n_episodes}")
    if isinstance(env, VecEnv):
        with th.random.fork_rng():
            th.manual_seed(seed)
            return _play(model, env, n_episodes, seed, deterministic, target_return, progress_bar)
    vec_env = make_eval_env(env, n_episodes)
    try:
        return evaluate(model, vec_env, n_episodes, seed, deterministic, target_return, progress_bar)
    finally:
        vec_env.close()


def make_eval_env(env: Task | EnvBuilder, n_episodes: int) -> DummyVecEnv:
    """
    As many copies of an environment as are worth playing side by side.

    :param env: a task, or what builds one environment.
    :param n_episodes: number of episodes they are for.
    """
    builder = env.make_env if isinstance(env, Task) else env
    return DummyVecEnv([builder] * min(n_episodes, MAX_ENVS))


def _play(
    model: BaseAlgorithm | BasePolicy | Predictor,
    vec_env: VecEnv,
    n_episodes: int,
    seed: int,
    deterministic: bool,
    target_return: float | None,
    progress_bar: bool,
) -> Array:
    predictor: Any = model
    request = {}
    if target_return is not None:
        # The algorithm's own predict knows no return to ask for
        predictor = model.policy if isinstance(model, BaseAlgorithm) else model
        request["target_return"] = target_return
    normalize = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None

    n_envs = vec_env.num_envs
    n_left = np.array([(n_episodes + i) // n_envs for i in range(n_envs)])
    returns: list[list[float]] = [[] for _ in range(n_envs)]
    running = np.zeros(n_envs)
    state: Any = None
    vec_env.seed(seed)
    observations: Any = vec_env.reset()
    episode_start = np.ones(n_envs, dtype=bool)
    with make_progress_bar(n_episodes, "evaluation", " episodes", progress_bar) as bar:
        while (n_left > 0).any():
            if normalize is not None:
                observations = normalize.normalize_obs(observations)
            actions, state = predictor.predict(
                observations, state=state, episode_start=episode_start, deterministic=deterministic, **request
            )
            observations, rewards, dones, _ = vec_env.step(actions)
            running += rewards
            for i in np.flatnonzero(dones & (n_left > 0)):
                returns[i].append(float(running[i]))
                n_left[i] -= 1
                bar.update()
            running[dones] = 0.0
            # Those that have played all their episodes only keep step: no plan is made for them
            episode_start = dones & (n_left > 0)
    return np.array([value for of_env in returns for value in of_env])


def make_progress_bar(total: int, description: str, unit: str, is_shown: bool) -> Any:
    """
    A tqdm progress bar.

    :param total: number of units of the whole work.
    :param description: what is done.
    :param unit: what is counted.
    :param is_shown: whether to show it; one that is not shown costs nothing.
    :raises ImportError: when it is to be shown and tqdm is missing.
    """
    if not is_shown:
        return _NoProgressBar()
    require("zoo", "tqdm")
    from tqdm import tqdm

    return tqdm(total=total, desc=description, unit=unit, leave=False)


class _NoProgressBar:
    def __enter__(self) -> "_NoProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: int = 1) -> None:
        """Show nothing."""
