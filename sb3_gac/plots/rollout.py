"""Where plans lead."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import gymnasium as gym
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac.data.trajectory import Trajectory
from sb3_gac.evaluation import follow_prior, play
from sb3_gac.gac import GAC

Kind: TypeAlias = Literal["prior", "exploit", "explore"]


def roll_out(
    model: GAC, envs: Sequence[gym.Env[Any, Any]], n_steps: int, kind: Kind, seed: int = 0, n_plans: int = 1
) -> list[Trajectory]:
    """
    Follow plans in each environment, each for an episode from the same start.

    :param model: The model.
    :param envs: Copies of the environment.
    :param n_steps: Most steps of an episode.
    :param kind: ``"prior"`` follows plans sampled from the prior, ``"exploit"`` and ``"explore"`` act as ``predict`` does.
    :param seed: Seed of the starts and of the samples: the same one gives the same starts. The random numbers of learning
        are left alone.
    :param n_plans: Plans followed one after the other in each environment.
    :return: The trajectories, plan by plan, in the order in which they ended.
    """
    vec_env = DummyVecEnv([lambda env=env: TimeLimit(env, n_steps) for env in envs])  # type: ignore[misc]
    policy = None
    if kind == "prior":
        policy = follow_prior(model.policy, is_random=True)
        policy.planner.replan_freq = (
            policy.plan_horizon or policy.planner.replan_freq
        )  # a sampled plan is followed for its horizon
    is_deterministic = kind != "explore"
    return [
        trajectory
        for plan in range(n_plans)
        for trajectory in play(model, vec_env, len(envs), seed, is_deterministic, policy, plan_seed=seed + plan)
    ]
