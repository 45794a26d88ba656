"""What episodes of a rollout follow: the moving target of exploration; before anything is learnt, randomly drawn policies."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_gac.type_aliases import Array

HIDDEN_DIM = 32
IN_SCALE, BIAS_SCALE, OUT_SCALE = 1.5, 0.3, 2.0


class Behaviour(IntEnum):
    """What an episode follows: a random policy, a plan that explores, or the best plan as an evaluation would."""

    RANDOM = 0
    EXPLORE = 1
    EXPLOIT = 2


def draw_behaviours(n_episodes: int, explore_ratio: float, random_ratio: float) -> Array:
    """
    What new episodes follow, of shape ``(n_episodes,)``.

    :param n_episodes: How many start.
    :param explore_ratio: Fraction of those that explore; others exploit.
    :param random_ratio: Fraction of all that follow random policies instead.
    """
    explores = np.random.random_sample(n_episodes) < explore_ratio
    behaviours = np.where(explores, Behaviour.EXPLORE, Behaviour.EXPLOIT)
    return np.where(np.random.random_sample(n_episodes) < random_ratio, Behaviour.RANDOM, behaviours)


class RandomPolicies:
    """
    A random network for each environment, drawn anew for each episode.

    Independent random actions cancel out: they hardly leave the place where an episode starts. One random policy goes
    somewhere, and each goes somewhere else. Each also leaves a share of its actions to chance, drawn with it from [0, 1]:
    where one action decides at once, few policies cover all of them. Random numbers are NumPy's global ones.

    :param n_envs: Number of environments.
    :param features_dim: Size of the features of an observation, which should be standardised.
    :param action_space: Box, Discrete, MultiDiscrete or MultiBinary space.
    """

    def __init__(self, n_envs: int, features_dim: int, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space
        if isinstance(action_space, spaces.Discrete):
            self.category_counts = [int(action_space.n)]
        elif isinstance(action_space, spaces.MultiDiscrete):
            self.category_counts = [int(n) for n in action_space.nvec]
        else:
            self.category_counts = []
        out_dim = sum(self.category_counts) or int(np.prod(action_space.shape))  # type: ignore[arg-type]
        self.weights_in = np.zeros((n_envs, features_dim, HIDDEN_DIM))
        self.biases = np.zeros((n_envs, 1, HIDDEN_DIM))
        self.weights_out = np.zeros((n_envs, HIDDEN_DIM, out_dim))
        self.random_shares = np.zeros((n_envs, 1))

    def draw(self, env_indices: Array) -> None:
        """
        Draw new policies.

        :param env_indices: Environments whose episode starts, of shape ``(n_starts,)``.
        """
        for parameters, scale in (
            (self.weights_in, IN_SCALE / math.sqrt(self.weights_in.shape[1])),
            (self.biases, BIAS_SCALE),
            (self.weights_out, OUT_SCALE / math.sqrt(HIDDEN_DIM)),
        ):
            parameters[env_indices] = scale * np.random.standard_normal((len(env_indices), *parameters.shape[1:]))
        self.random_shares[env_indices] = np.random.random_sample((len(env_indices), 1))

    def act(self, features: Array, env_indices: Array) -> Array:
        """
        Buffer actions of shape ``(len(env_indices), action_dim)``.

        :param features: Features of the observations of some environments, of shape ``(len(env_indices), features_dim)``.
        :param env_indices: Which environments.
        """
        hidden = np.tanh(features[:, None] @ self.weights_in[env_indices] + self.biases[env_indices])
        outputs = (hidden @ self.weights_out[env_indices]).squeeze(1)  # (n, out_dim)
        actions: Array
        others: Array
        if isinstance(self.action_space, spaces.Box):
            actions = np.tanh(outputs).astype(np.float32)
            others = np.random.uniform(-1, 1, size=actions.shape).astype(np.float32)
        elif self.category_counts:
            parts = np.split(outputs, np.cumsum(self.category_counts)[:-1], axis=1)
            actions = np.stack([part.argmax(axis=1) for part in parts], axis=1)
            others = np.random.randint(0, self.category_counts, size=actions.shape)
        else:
            actions = (outputs > 0).astype(np.int64)
            others = np.random.randint(0, 2, size=actions.shape)
        return np.where(np.random.random_sample(actions.shape) < self.random_shares[env_indices], others, actions)


@dataclass
class TargetReturn:
    """
    Return that exploration asks for: a quantile of the returns that are learnt from, moved by what rollouts reach.

    A rollout that reaches the target raises it by ``rise`` standard deviations of the known returns; one that misses it
    lowers it by ``fall``. It never falls below the quantile it started from, which itself rises with the data, nor
    rises more than ``headroom`` standard deviations above the best return known.

    :param quantile: Quantile of the known returns to start from, in [0, 1].
    :param rise: Standard deviations added when a rollout reaches the target.
    :param fall: Standard deviations subtracted when a rollout misses it.
    :param headroom: Standard deviations the target may stand above the best known return.
    """

    quantile: float = 0.9
    rise: float = 0.1
    fall: float = 0.02
    headroom: float = 0.5
    value: float | None = None
    low: float = 0.0
    high: float = 0.0
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"target quantile must lie in [0, 1], got {self.quantile}")
        for name in ("rise", "fall", "headroom"):
            if getattr(self, name) < 0:
                raise ValueError(f"target {name} must not be negative, got {getattr(self, name)}")

    def fit(self, returns: np.ndarray) -> None:
        """
        Take the bounds from the known returns, and start at the lower one.

        :param returns: Sample of the returns that are learnt from, in env units, of shape ``(n_trajectories,)``.
        """
        returns = returns.astype(np.float64)  # squares of large ones do not fit float32
        self.unit = float(returns.std())
        self.low = float(np.quantile(returns, self.quantile))
        self.high = float(returns.max()) + self.headroom * self.unit
        self.value = self.low if self.value is None else min(max(self.value, self.low), self.high)

    def update(self, achieved_return: float) -> None:
        """
        Move the target by one finished rollout.

        :param achieved_return: Return of the rollout in env units.
        """
        if self.value is None:  # nothing was known when the rollout started
            return
        self.high = max(self.high, achieved_return + self.headroom * self.unit)
        moved = self.value + self.unit * (self.rise if achieved_return >= self.value else -self.fall)
        self.value = min(max(moved, self.low), self.high)
