"""Mean and standard deviation of a scalar, given an observation."""

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.networks.log_std import clamp_log_std

LOG_STD_MIN, LOG_STD_MAX = -3.0, 2.0


class SpreadPredictor(nn.Module):
    """
    Gaussian over a scalar, given features.

    :param in_dim: Size of the features.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    """

    def __init__(self, in_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(*create_mlp(in_dim, 2, net_arch, activation_fn))

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Mean and log standard deviation, of shape ``(batch_size,)``.

        :param features: Features of shape ``(batch_size, in_dim)``.
        """
        mean, log_std = self.net(features).unbind(dim=-1)
        return mean, clamp_log_std(log_std, LOG_STD_MIN, LOG_STD_MAX)
