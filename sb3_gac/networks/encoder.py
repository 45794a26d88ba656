"""The amortised start of the plan posterior q(z | trajectory)."""

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.networks.log_std import clamp_log_std
from sb3_gac.type_aliases import PlanGaussian

LOG_STD_MIN, LOG_STD_MAX = -5.0, 1.0


class PlanEncoder(nn.Module):
    """
    Permutation-invariant encoder of sampled (observation, action) pairs into a diagonal Gaussian over plans.

    It sees neither the first observation, nor the order of the steps, nor the return: a plan that could smuggle in the
    start or the return would not be one that acting can choose.

    :param features_dim: Size of the features of an observation; the clock that may follow them is not seen.
    :param action_dim: Size of an encoded action (see ``ActionHead.encode``).
    :param plan_dim: Size of a plan.
    :param net_arch: Hidden layers, before the mean over the steps and again after it.
    :param activation_fn: Activation of both networks.
    """

    def __init__(
        self, features_dim: int, action_dim: int, plan_dim: int, net_arch: list[int], activation_fn: type[nn.Module]
    ) -> None:
        super().__init__()
        self.features_dim = features_dim
        self.step_net = nn.Sequential(*create_mlp(features_dim + action_dim, -1, net_arch[:1], activation_fn))
        pooled_dim = net_arch[0] if net_arch else features_dim + action_dim
        self.plan_net = nn.Sequential(*create_mlp(pooled_dim, 2 * plan_dim, net_arch, activation_fn))

    def forward(self, features: th.Tensor, actions: th.Tensor) -> PlanGaussian:
        """
        Posterior over plans given a sample of steps.

        :param features: Features of the observations, of shape ``(batch_size, n_steps, features_dim)``.
        :param actions: Encoded actions, of shape ``(batch_size, n_steps, action_dim)``.
        """
        steps = th.cat((features[..., : self.features_dim], actions), dim=-1)
        pooled = self.step_net(steps).mean(dim=1)  # (batch_size, pooled_dim)
        mean, log_std = self.plan_net(pooled).chunk(2, dim=-1)
        return PlanGaussian(mean, clamp_log_std(log_std, LOG_STD_MIN, LOG_STD_MAX))
