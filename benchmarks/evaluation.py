"""The one loop that plays episodes with what was learnt, and the evaluations in the course of a training."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.envs import Task
from benchmarks.table import Row, append_row
from sb3_gac.actor import PlanActor
from sb3_gac.random_state import fork_random_state
from sb3_gac.type_aliases import TensorObs

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_ENVS = 25
# Far from any seed of a training: both add the index of the environment to it
EVALUATION_SEED = 10_000
N_CURVE_EPISODES = 10
N_TRAIN_EPISODES = 20


class Predictor(Protocol):
    """Whatever acts as an SB3 algorithm or policy does."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions, and the state to pass with the next observations."""


def follow_prior(actor: PlanActor, is_random: bool) -> PlanActor:
    """
    The same model with other plans than the best ones: what searching them is worth.

    :param actor: The model as it acts; left as it is.
    :param is_random: Whether plans are sampled from the prior, instead of its mean.
    """

    def plan(obs: TensorObs, deterministic: bool = False, target_return: Any = None) -> th.Tensor:
        with th.no_grad():
            prior = actor.model.plan_prior(actor.extract_features(obs))
        return prior.at(th.randn_like(prior.mean)) if is_random else prior.mean

    follower = copy.copy(actor)
    follower.plan = plan  # type: ignore[method-assign]
    return follower


def make_eval_env(task: Task, n_episodes: int) -> DummyVecEnv:
    """As many copies of the environment of a task as are worth playing side by side, behind Monitors."""
    env = make_vec_env(task.make_env, min(n_episodes, MAX_ENVS), seed=EVALUATION_SEED)
    assert isinstance(env, DummyVecEnv)
    return env


def evaluate(model: BaseAlgorithm | Predictor, env: VecEnv, n_episodes: int, seed: int = EVALUATION_SEED) -> Array:
    """
    Play whole episodes side by side with the deterministic policy and return the return of each, in env units.

    How many episodes each environment plays is fixed beforehand: whoever counts the first ``n_episodes`` to end instead
    counts too many short ones. The same seed gives the same starts, and the training's random numbers are left alone.

    :param model: An SB3 algorithm, or whatever has its ``predict``; one with a VecNormalize sees normalised observations.
    :param env: The environments behind Monitors; left open.
    :param n_episodes: Number of episodes.
    :param seed: Of the environments.
    :return: Shape ``(n_episodes,)``, environment by environment.
    :raises ValueError: when there is no episode to play.
    """
    if n_episodes < 1:
        raise ValueError(f"an evaluation needs a positive number of episodes, not {n_episodes}")
    normalize = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None
    n_envs = env.num_envs
    n_left = np.array([(n_episodes + i) // n_envs for i in range(n_envs)])
    returns: list[list[float]] = [[] for _ in range(n_envs)]
    state: Any = None
    episode_start = np.ones(n_envs, dtype=bool)
    with fork_random_state(seed):
        env.seed(seed)
        observations: Any = env.reset()
        while (n_left > 0).any():
            if normalize is not None:
                observations = normalize.normalize_obs(observations)
            actions, state = model.predict(observations, state=state, episode_start=episode_start, deterministic=True)
            observations, _, dones, infos = env.step(actions)
            for i in np.flatnonzero(dones & (n_left > 0)):
                returns[i].append(float(infos[i]["episode"]["r"]))
                n_left[i] -= 1
            # Those that have played all their episodes only keep step: no plan is made for them
            episode_start = dones & (n_left > 0)
    return np.array([value for of_env in returns for value in of_env])


class CurveCallback(BaseCallback):
    """
    Evaluate every so many steps, and keep the CPU seconds of that apart.

    :param name: Of the job, for the lines that are printed.
    :param evaluate_now: Plays a number of episodes with the model as it is, and returns the mean.
    :param eval_freq: Steps between evaluations; 0 for none.
    :param curves: CSV file that gets a row for each; None for none.
    :param key: The columns that tell the job.
    :param tell: Is given the step and the mean return of each.
    """

    def __init__(
        self,
        name: str,
        evaluate_now: Callable[[int], float],
        eval_freq: int = 0,
        curves: Path | None = None,
        key: Row | None = None,
        tell: Callable[[int, float], None] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.evaluate_now, self.eval_freq, self.curves = name, evaluate_now, eval_freq, curves
        self.key, self.tell = key or {}, tell
        self.next_step = eval_freq
        self.eval_cpu_s = 0.0
        self.start_cpu_s = time.process_time()

    def cpu_seconds(self) -> float:
        """CPU seconds of training so far, evaluations left out."""
        return time.process_time() - self.start_cpu_s - self.eval_cpu_s

    def _on_step(self) -> bool:
        if self.eval_freq > 0 and self.num_timesteps >= self.next_step:
            self.next_step += self.eval_freq
            episodes = [info["r"] for info in self.model.ep_info_buffer or ()][-N_TRAIN_EPISODES:]
            self.evaluate(self.num_timesteps, float(np.mean(episodes)) if episodes else float("nan"))
        return True

    def evaluate(self, step: int, train_mean: float = float("nan")) -> None:
        """
        Add a point to the curve.

        :param step: Steps so far.
        :param train_mean: Mean return of the last training episodes.
        """
        started, cpu_s = time.process_time(), self.cpu_seconds()
        mean = self.evaluate_now(N_CURVE_EPISODES)
        self.eval_cpu_s += time.process_time() - started
        figures = f"eval {mean:.1f}, training {train_mean:.1f}, {cpu_s:.1f} CPU s"
        print(f"eval {self.name}: {step:,} steps, {figures}", flush=True)
        if self.curves is not None:
            values = {"step": step, "mean_return": mean, "train_return": train_mean, "train_cpu_s": cpu_s}
            append_row(self.curves, {**self.key, **values})
        if self.tell is not None:
            self.tell(step, mean)
