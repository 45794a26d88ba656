"""A scalar in env units: the reward of a step."""

from itertools import pairwise

import torch as th
from torch import nn

from sb3_gac.networks.return_predictor import EnsembleLinear


class ScalarPredictor(nn.Module):
    """
    Ensemble of MLPs that predict one number in env units, standardised inside.

    It starts as the constant ``mean``. The last layer is rescaled when the statistics change, so that every prediction stays
    as it was (arXiv 1602.07714).

    :param in_dim: Size of the input.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    :param n_members: Number of members.
    """

    mean: th.Tensor
    std: th.Tensor

    def __init__(self, in_dim: int, net_arch: list[int], activation_fn: type[nn.Module], n_members: int = 1) -> None:
        super().__init__()
        self.n_members = n_members
        dims = [in_dim, *net_arch]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(dims):
            layers += [EnsembleLinear(n_members, n_in, n_out), activation_fn()]
        self.hidden_net = nn.Sequential(*layers)
        self.head = EnsembleLinear(n_members, dims[-1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", th.zeros((), dtype=th.float64))
        self.register_buffer("std", th.zeros((), dtype=th.float64))  # 0 until there are statistics

    @property
    def is_new(self) -> bool:
        """Whether it has no statistics yet."""
        return bool(self.std == 0)

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        """
        Standardised predictions of each member, of shape ``(n_members, batch_size)``.

        :param inputs: Inputs of shape ``(batch_size, in_dim)``, or of each member: ``(n_members, batch_size, in_dim)``.
        """
        standardised: th.Tensor = self.head(self.hidden_net(inputs.expand(self.n_members, *inputs.shape[-2:])))
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
        Predictions of each member in env units and double precision, without gradients, of shape ``(n_members, batch_size)``.

        :param inputs: Inputs of shape ``(batch_size, in_dim)``.
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
        self.head.bias.copy_((self.head.bias.double() * self.std + self.mean - mean) / std)
        self.head.weight.mul_(self.std / std)
        self.mean.fill_(mean)
        self.std.fill_(std)
