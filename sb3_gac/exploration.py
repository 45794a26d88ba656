"""What episodes of a rollout follow; before anything is learnt, randomly drawn policies."""

import math
from enum import IntEnum
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_gac.type_aliases import Array

HIDDEN_DIM = 32
IN_SCALE, BIAS_SCALE, OUT_SCALE = 1.5, 0.3, 2.0
NOISE = 0.1  # standard deviation of Box actions, probability of a random action of the others


class Behaviour(IntEnum):
    """What an episode follows: a random policy, a plan that explores, or the best plan as an evaluation would."""

    RANDOM = 0
    EXPLORE = 1
    EXPLOIT = 2


class RandomPolicies:
    """
    A random network for each environment, drawn anew for each episode.

    Independent random actions cancel out: they hardly leave the place where an episode starts. One random policy goes
    somewhere, and each goes somewhere else. Random numbers are NumPy's global ones.

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

    def act(self, features: Array, env_indices: Array) -> Array:
        """
        Buffer actions of shape ``(len(env_indices), action_dim)``.

        :param features: Features of the observations of some environments, of shape ``(len(env_indices), features_dim)``.
        :param env_indices: Which environments.
        """
        hidden = np.tanh(features[:, None] @ self.weights_in[env_indices] + self.biases[env_indices])
        outputs = (hidden @ self.weights_out[env_indices]).squeeze(1)  # (n, out_dim)
        if isinstance(self.action_space, spaces.Box):
            return np.clip(np.tanh(outputs) + NOISE * np.random.standard_normal(outputs.shape), -1, 1).astype(np.float32)
        if self.category_counts:
            parts = np.split(outputs, np.cumsum(self.category_counts)[:-1], axis=1)
            actions = np.stack([part.argmax(axis=1) for part in parts], axis=1)
            others = np.random.randint(0, self.category_counts, size=actions.shape)
        else:
            actions = (outputs > 0).astype(np.int64)
            others = np.random.randint(0, 2, size=actions.shape)
        return np.where(np.random.random_sample(actions.shape) < NOISE, others, actions)
