"""The one way to evaluate what was learnt, and the evaluations in the course of a training."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.table import Row, append_row
from sb3_gac.data import rollout_trajectories
from sb3_gac.evaluation import play
from sb3_gac.random_state import fork_random_state
from sb3_gac.type_aliases import Array

MAX_ENVS = 25  # copies of an environment that are worth playing side by side
# Far from any seed of a training: both add the index of the environment to it
EVALUATION_SEED = 10_000
N_CURVE_EPISODES = 10
N_TRAIN_EPISODES = 20
# Between two lines that say how far a training is
PROGRESS_SECONDS = 10


def evaluate(model: BaseAlgorithm | PolicyPredictor, env: VecEnv, n_episodes: int, seed: int = EVALUATION_SEED) -> Array:
    """
    Play whole episodes side by side with the deterministic policy and return the return of each, in env units.

    The same seed gives the same starts, and the training's random numbers are left alone.

    :param model: An SB3 algorithm, or whatever has its ``predict``; one with a VecNormalize sees normalised observations.
    :param env: The environments; left open.
    :param n_episodes: Number of episodes.
    :param seed: Of the environments.
    :return: Shape ``(n_episodes,)``, in the order in which they ended.
    :raises ValueError: when there is no episode to play.
    """
    if isinstance(model, BaseAlgorithm):
        trajectories = play(model, env, n_episodes, seed)
    else:
        with fork_random_state(seed):
            env.seed(seed)
            trajectories = rollout_trajectories(model, env, n_episodes)
    return np.array([trajectory.total_return for trajectory in trajectories])


class CurveCallback(BaseCallback):
    """
    Evaluate every so many steps, keep the CPU seconds of that apart, and say every ten seconds how far the training is.

    :param name: Of the job, for the lines that are printed.
    :param evaluate_now: Plays a number of episodes with the model as it is, and returns their returns.
    :param eval_freq: Steps between evaluations; 0 for none.
    :param curves: CSV file that gets a row for each; None for none.
    :param key: The columns that tell the job.
    :param tell: Is given the step and the mean return of each.
    """

    def __init__(
        self,
        name: str,
        evaluate_now: Callable[[int], Array],
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
        self.start_cpu_s, self.told_at = time.process_time(), time.monotonic()

    def cpu_seconds(self) -> float:
        """Those of the training so far, evaluations left out."""
        return time.process_time() - self.start_cpu_s - self.eval_cpu_s

    def _on_step(self) -> bool:
        if self.eval_freq > 0 and self.num_timesteps >= self.next_step:
            self.next_step += self.eval_freq
            episodes = [info["r"] for info in self.model.ep_info_buffer or ()][-N_TRAIN_EPISODES:]
            self.evaluate(self.num_timesteps, float(np.mean(episodes)) if episodes else float("nan"))
        elif time.monotonic() > self.told_at + PROGRESS_SECONDS:
            self._print(f"{self.name}: {self.num_timesteps:,} of {self.model._total_timesteps:,} steps")
        return True

    def evaluate(self, step: int, train_mean: float = float("nan")) -> None:
        """
        Add a point to the curve.

        :param step: Steps so far.
        :param train_mean: Mean return of the last training episodes.
        """
        started, cpu_s = time.process_time(), self.cpu_seconds()
        mean = float(np.mean(self.evaluate_now(N_CURVE_EPISODES)))
        self.eval_cpu_s += time.process_time() - started
        self._print(f"eval {self.name}: {step:,} steps, eval {mean:.1f}, training {train_mean:.1f}, {cpu_s:.1f} CPU s")
        if self.curves is not None:
            values = {"step": step, "mean_return": mean, "train_return": train_mean, "train_cpu_s": cpu_s}
            append_row(self.curves, {**self.key, **values})
        if self.tell is not None:
            self.tell(step, mean)

    def _print(self, line: str) -> None:
        print(line, flush=True)
        self.told_at = time.monotonic()
