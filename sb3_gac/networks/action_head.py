"""Likelihoods of buffer actions, one per kind of action space."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    Distribution,
    MultiCategoricalDistribution,
    make_proba_distribution,
)
from stable_baselines3.common.preprocessing import get_action_dim
from torch import nn
from torch.nn import functional as F

from sb3_gac.networks.log_std import clamp_log_std

LOG_STD_MIN, LOG_STD_MAX = -3.0, 0.5
# Where the best actions are learnt again and again, what is learnt narrows to a point: sampled actions keep a standard
# deviation of at least this, or are random with this probability
MIN_SAMPLE_STD, RANDOM_SAMPLE_RATIO = 0.2, 0.1


class ActionHead(nn.Module, ABC):
    """
    Last layer of a decoder: the distribution of an action given the decoder's hidden vector.

    :param action_space: Space of the actions.
    """

    encoded_dim: int
    """Size of an action as the encoder sees it."""

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        super().__init__()
        self.action_dim = get_action_dim(action_space)

    def encode(self, actions: th.Tensor) -> th.Tensor:
        """
        Turn buffer actions into vectors for the encoder.

        :param actions: Buffer actions of shape ``(..., action_dim)``.
        """
        return actions

    @abstractmethod
    def forward(self, hidden: th.Tensor) -> th.Tensor:
        """
        Parameters of the distribution, of shape ``(..., n_parameters)``.

        :param hidden: Hidden vectors of shape ``(..., hidden_dim)``.
        """

    @abstractmethod
    def log_prob(self, parameters: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        Log-likelihood of buffer actions, summed over the action's dimensions.

        :param parameters: Parameters of the distribution, of shape ``(..., n_parameters)``.
        :param actions: Buffer actions of shape ``(..., action_dim)``.
        """

    @abstractmethod
    def act(self, parameters: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        The most likely buffer action, or a sampled one.

        :param parameters: Parameters of the distribution, of shape ``(batch_size, n_parameters)``.
        :param deterministic: Whether not to sample.
        """


class GaussianActionHead(ActionHead):
    """
    Diagonal Gaussian on [-1, 1] with a bounded mean and a clamped, observation-dependent log standard deviation.

    The parameters are means, then log standard deviations.

    :param hidden_dim: Size of the decoder's hidden vector.
    :param action_space: Box space of the actions.
    """

    def __init__(self, hidden_dim: int, action_space: spaces.Box) -> None:
        super().__init__(action_space)
        self.encoded_dim = self.action_dim
        self.net = nn.Linear(hidden_dim, 2 * self.action_dim)

    def forward(self, hidden: th.Tensor) -> th.Tensor:
        mean, log_std = self.net(hidden).chunk(2, dim=-1)
        return th.cat((th.tanh(mean), clamp_log_std(log_std, LOG_STD_MIN, LOG_STD_MAX)), dim=-1)

    def log_prob(self, parameters: th.Tensor, actions: th.Tensor) -> th.Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        standardised = (actions - mean) * (-log_std).exp()
        log_probs = -(0.5 * standardised.square() + log_std)
        return log_probs.sum(dim=-1) - 0.5 * self.action_dim * math.log(2 * math.pi)

    def act(self, parameters: th.Tensor, deterministic: bool) -> th.Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        if deterministic:
            return mean
        return (mean + log_std.exp().clamp(min=MIN_SAMPLE_STD) * th.randn_like(mean)).clamp(-1, 1)


class CategoricalActionHead(ActionHead):
    """
    Likelihood of Discrete, MultiDiscrete and MultiBinary actions, by Stable-Baselines3's own distributions.

    :param hidden_dim: Size of the decoder's hidden vector.
    :param action_space: Discrete, MultiDiscrete or MultiBinary space of the actions.
    """

    def __init__(self, hidden_dim: int, action_space: spaces.Space[Any]) -> None:
        super().__init__(action_space)
        self.action_space = action_space
        distribution = make_proba_distribution(action_space)
        assert isinstance(distribution, (CategoricalDistribution, MultiCategoricalDistribution, BernoulliDistribution)), (
            f"no likelihood for actions of {action_space}"
        )
        self.net = distribution.proba_distribution_net(hidden_dim)
        if isinstance(action_space, spaces.Discrete):
            self.category_counts = [int(action_space.n)]
        elif isinstance(action_space, spaces.MultiDiscrete):
            self.category_counts = [int(n) for n in action_space.nvec]
        else:  # a binary action is its own code
            self.category_counts = []
        self.encoded_dim = sum(self.category_counts) or self.action_dim

    def encode(self, actions: th.Tensor) -> th.Tensor:
        if not self.category_counts:
            return actions
        return th.cat([F.one_hot(actions[..., i].long(), n).float() for i, n in enumerate(self.category_counts)], dim=-1)

    def forward(self, hidden: th.Tensor) -> th.Tensor:
        logits: th.Tensor = self.net(hidden)
        return logits

    def _distribution(self, logits: th.Tensor) -> Distribution:
        # A new one each time: it keeps its logits, and a module that holds a graph cannot be copied
        distribution: Distribution = make_proba_distribution(self.action_space).proba_distribution(logits)
        return distribution

    def log_prob(self, parameters: th.Tensor, actions: th.Tensor) -> th.Tensor:
        flat_actions = actions.flatten(0, -2)  # SB3's distributions know one batch axis
        if isinstance(self.action_space, spaces.Discrete):
            flat_actions = flat_actions.squeeze(-1)
        return self._distribution(parameters.flatten(0, -2)).log_prob(flat_actions).view(actions.shape[:-1])

    def act(self, parameters: th.Tensor, deterministic: bool) -> th.Tensor:
        actions = self._distribution(parameters).get_actions(deterministic).view(-1, self.action_dim).float()
        if deterministic:
            return actions
        counts = actions.new_tensor(self.category_counts or [2] * self.action_dim)
        random_actions = (th.rand_like(actions) * counts).floor()
        return th.where(th.rand_like(actions) < RANDOM_SAMPLE_RATIO, random_actions, actions)


def make_action_head(hidden_dim: int, action_space: spaces.Space[Any]) -> ActionHead:
    """
    Action likelihood for a space.

    :param hidden_dim: Size of the decoder's hidden vector.
    :param action_space: Space of the actions.
    """
    if isinstance(action_space, spaces.Box):
        return GaussianActionHead(hidden_dim, action_space)
    return CategoricalActionHead(hidden_dim, action_space)
