"""Plans that are carried from one step to the next."""

from typing import Any, NamedTuple

import numpy as np

from sb3_gac.type_aliases import Array


class PlanState(NamedTuple):
    """
    What ``predict`` carries from one step to the next, one row per environment.

    :param plans: The plans being followed, of shape ``(n_envs, plan_dim)``.
    :param ages: Number of actions already taken with each plan, of shape ``(n_envs,)``.
    """

    plans: np.ndarray
    ages: np.ndarray

    @classmethod
    def begin(cls, n_envs: int, plan_dim: int) -> "PlanState":
        """
        The state before any plan is made.

        :param n_envs: Number of environments.
        :param plan_dim: Size of a plan.
        """
        return cls(np.zeros((n_envs, plan_dim), np.float32), np.zeros(n_envs, np.int64))

    @classmethod
    def check(cls, state: Any, n_envs: int, plan_dim: int) -> "PlanState":
        """
        The state that ``predict`` was given, if it is one of this policy and of these environments.

        :param state: What was given.
        :param n_envs: Number of environments.
        :param plan_dim: Size of a plan.
        :raises ValueError: when it is not.
        """
        if not isinstance(state, tuple) or len(state) != 2:
            raise ValueError(f"predict() was given a state that is no {cls.__name__}, expected the one that it returned")
        shapes, expected = tuple(part.shape for part in state), ((n_envs, plan_dim), (n_envs,))
        if shapes != expected:
            raise ValueError(f"predict() was given a state of plans and ages of shapes {shapes}, expected {expected}")
        return cls(*state)


def check_episode_start(episode_start: Any, n_envs: int) -> Array:
    """
    Whether each environment has just been reset, of shape ``(n_envs,)``.

    :param episode_start: What ``predict`` was given; ``None``: none has.
    :param n_envs: Number of environments.
    :raises ValueError: when it is of other environments.
    """
    starts = np.zeros(n_envs, dtype=bool) if episode_start is None else np.array(episode_start, dtype=bool, ndmin=1)
    if starts.shape != (n_envs,):
        raise ValueError(f"predict() was given episode_start of shape {starts.shape}, expected {(n_envs,)}")
    return starts
