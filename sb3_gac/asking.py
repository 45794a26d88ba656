"""Asking a model for a return other than the largest, and what comes of it."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from sb3_gac.data import rollout_trajectories
from sb3_gac.gac import GAC
from sb3_gac.random_state import fork_random_state

N_TARGETS = 7


class AskingPolicy:
    """
    A model that is always asked for the same return: give it to whatever calls ``predict``, such as ``evaluate_policy``.

    :param model: The model.
    :param target_return: Return asked for, in env units.
    """

    def __init__(self, model: GAC, target_return: float) -> None:
        self.model = model
        self.target_return = target_return

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        See :meth:`PlanActor.predict <sb3_gac.actor.PlanActor.predict>`.

        :param observation: Observation, or a batch of them.
        :param state: What the last call returned; ``None`` at the start.
        :param episode_start: Whether each environment has just been reset, of shape ``(n_envs,)``.
        :param deterministic: Whether to follow the plan that fits best, or one sampled among those that fit.
        """
        return self.model.policy.predict(observation, state, episode_start, deterministic, self.target_return)


@dataclass(frozen=True)
class AskedReturns:
    """
    Returns that were asked for, and those that episodes then had.

    :param asked: In env units, of shape ``(n_targets,)``.
    :param achieved: In env units, of shape ``(n_targets, n_episodes)``.
    :param known: Lowest and highest return of the trajectories that the model has; ``None`` when it has none.
    """

    asked: np.ndarray
    achieved: np.ndarray
    known: tuple[float, float] | None = None


def ask_for_returns(
    model: GAC,
    env: gym.Env[Any, Any] | VecEnv,
    target_returns: Any = None,
    n_episodes: int = 5,
    deterministic: bool = True,
    seed: int = 0,
) -> AskedReturns:
    """
    Play episodes that are asked for one return after the other, from the same starts.

    :param model: The model.
    :param env: The env, or several in a VecEnv; in a ``VecNormalize`` when the model was trained in one, whose statistics
        do not move. The env that the model learns in is given as ``model.get_env()``, and begins new episodes
        afterwards; it is not to be given as it was before the model wrapped it, or learning goes on in the middle of nowhere.
    :param target_returns: Returns to ask for in env units, of shape ``(n_targets,)``; by default seven from the lowest to the
        highest that the model has seen.
    :param n_episodes: Episodes for each of them.
    :param deterministic: Whether to follow the plan that fits best, or one sampled among those that fit.
    :param seed: Seed of the environments and of the samples; the random numbers of learning are left alone.
    :raises ValueError: when the model has no trajectories and no returns are given, or the env lacks the ``VecNormalize``.
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes must be at least 1, got {n_episodes}")
    known = known_returns(model)
    if target_returns is None:
        if known is None:
            raise ValueError("this model has no trajectories to take the returns from: give target_returns")
        target_returns = np.linspace(*known, N_TARGETS)
    asked = np.asarray(target_returns, dtype=np.float64).reshape(-1)
    if len(asked) == 0:
        raise ValueError("target_returns are empty, expected at least one return")
    vec_env = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])
    normalizer = unwrap_vec_normalize(vec_env)
    if normalizer is None and model.get_vec_normalize_env() is not None:
        raise ValueError("the model was trained in a VecNormalize and env has none: give model.get_env()")
    was_training = normalizer is not None and normalizer.training
    achieved = []
    try:
        if normalizer is not None:
            normalizer.training = False
        for target in asked:
            with fork_random_state(seed, model.device):
                vec_env.seed(seed)
                trajectories = rollout_trajectories(
                    AskingPolicy(model, float(target)), vec_env, n_episodes, None, deterministic
                )
            achieved.append([trajectory.total_return for trajectory in trajectories])
    finally:
        if normalizer is not None:
            normalizer.training = was_training
        if vec_env is model.env:  # its episodes under way have been played to an end
            model.set_env(vec_env)
    return AskedReturns(asked, np.array(achieved), known)


def known_returns(model: GAC) -> tuple[float, float] | None:
    """
    Lowest and highest return of the trajectories that a model has, in its data set and its replay buffer.

    :param model: The model.
    :return: ``None`` when it has none.
    """
    buffers = [buffer for buffer in (model.offline_buffer, model.replay_buffer) if buffer is not None]
    returns = np.concatenate([buffer.returns for buffer in buffers]) if buffers else np.zeros(0)
    return (float(returns.min()), float(returns.max())) if len(returns) else None
