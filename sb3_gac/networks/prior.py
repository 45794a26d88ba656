"""The plan prior p(z | o_1)."""

from abc import ABC, abstractmethod

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.networks.log_std import clamp_log_std
from sb3_gac.type_aliases import PlanDistribution, PlanGaussian

LOG_STD_MIN, LOG_STD_MAX = -4.0, 1.0


class PlanPrior(nn.Module, ABC):
    """
    Distribution over plans given the first observation, whose plans are made of standard normal noise.

    Another prior is a subclass with these arguments, and a name in ``sb3_gac.networks.PRIORS``.

    :param features_dim: Size of the features of the first observation.
    :param plan_dim: Size of a plan.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    """

    noise_dim: int
    """Size of the noise that a plan is made of."""

    @abstractmethod
    def __init__(self, features_dim: int, plan_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, first_features: th.Tensor) -> PlanDistribution:
        """
        The plans that make sense given the first observation.

        :param first_features: Features of first observations, of shape ``(batch_size, features_dim)``.
        """


class GaussianPrior(PlanPrior):
    """Gaussian prior over plans, z = μ(o_1) + σ(o_1) ε; it begins as N(0, I)."""

    def __init__(self, features_dim: int, plan_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__(features_dim, plan_dim, net_arch, activation_fn)
        self.noise_dim = plan_dim
        *hidden_layers, head = create_mlp(features_dim, 2 * plan_dim, net_arch, activation_fn)
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self.net = nn.Sequential(*hidden_layers, head)

    def forward(self, first_features: th.Tensor) -> PlanGaussian:
        mean, log_std = self.net(first_features).chunk(2, dim=-1)
        return PlanGaussian(mean, clamp_log_std(log_std, LOG_STD_MIN, LOG_STD_MAX))
