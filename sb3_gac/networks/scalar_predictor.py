"""A scalar in env units: the value of an observation, or the reward of a step."""

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn


class ScalarPredictor(nn.Module):
    """
    MLP that predicts one number in env units, standardised inside.

    It starts as the constant ``mean``. The last layer is rescaled when the statistics change, so that every prediction stays
    as it was (arXiv 1602.07714).

    :param in_dim: Size of the input.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    """

    mean: th.Tensor
    std: th.Tensor

    def __init__(self, in_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(*create_mlp(in_dim, 1, net_arch, activation_fn))
        nn.init.zeros_(self._head.weight)
        nn.init.zeros_(self._head.bias)
        self.register_buffer("mean", th.zeros((), dtype=th.float64))
        self.register_buffer("std", th.zeros((), dtype=th.float64))  # 0 until there are statistics

    @property
    def is_new(self) -> bool:
        """Whether it has no statistics yet."""
        return bool(self.std == 0)

    @property
    def _head(self) -> nn.Linear:
        head = self.net[-1]
        assert isinstance(head, nn.Linear)
        return head

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        """
        Standardised predictions, of shape ``(...)``.

        :param inputs: Inputs of shape ``(..., in_dim)``.
        """
        standardised: th.Tensor = self.net(inputs)
        return standardised.squeeze(-1)

    def standardise(self, targets: th.Tensor) -> th.Tensor:
        """
        What ``forward`` should return.

        :param targets: Targets in env units, in double precision.
        """
        return ((targets - self.mean) / self.std).float()

    @th.no_grad()
    def predict(self, inputs: th.Tensor) -> th.Tensor:
        """
        Predictions in env units, in double precision, without gradients.

        :param inputs: Inputs of shape ``(..., in_dim)``.
        """
        predictions: th.Tensor = self(inputs).double() * self.std + self.mean
        return predictions

    @th.no_grad()
    def set_statistics(self, mean: float, std: float) -> None:
        """
        Change the units of the standardised predictions without changing any prediction in env units.

        :param mean: New mean of the targets, in env units.
        :param std: New standard deviation of the targets, in env units; positive.
        """
        if self.is_new:
            self.mean.fill_(mean)
        self._head.bias.copy_((self._head.bias.double() * self.std + self.mean - mean) / std)
        self._head.weight.mul_(self.std / std)
        self.mean.fill_(mean)
        self.std.fill_(std)
