"""What credit learns of steps: values, mean λ-returns and advantages; rewards, where only returns are known; spreads."""

from enum import IntEnum
from itertools import pairwise

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.networks.log_std import clamp_log_std
from sb3_gac.networks.return_predictor import EnsembleLinear

NEGATIVE_SLOPE = 0.1
LOG_STD_MIN, LOG_STD_MAX = -3.0, 2.0  # of spreads


class Credit(IntEnum):
    """
    What the network predicts.

    ``VALUE``: V(o), of the policy that is learnt. ``BASELINE``: the mean λ-return of those that have acted. ``ADVANTAGE``:
    A(o, a), what the action adds to it.
    """

    VALUE = 0
    BASELINE = 1
    ADVANTAGE = 2


class CreditNetwork(nn.Module):
    """
    Ensembles of MLPs for value, baseline and advantage, in env units, standardised inside.

    All members are one batched product: value and baseline are shown zeros for the action. Every prediction starts as the
    mean. The last layer is rescaled when statistics change, so that every prediction stays as it was (arXiv 1602.07714).
    Rectifiers leak: with targets that move, others die.

    :param features_dim: Size of the features of an observation.
    :param action_dim: Size of an encoded action.
    :param net_arch: Hidden layers.
    :param n_members: Members of each ensemble.
    """

    mean: th.Tensor
    std: th.Tensor
    mask: th.Tensor

    def __init__(self, features_dim: int, action_dim: int, net_arch: list[int], n_members: int = 2) -> None:
        super().__init__()
        self.n_members = n_members
        dims = [features_dim + action_dim, *net_arch, 1]
        n_all = len(Credit) * n_members
        self.layers = nn.ModuleList([EnsembleLinear(n_all, n_in, n_out) for n_in, n_out in pairwise(dims)])
        head = self.layers[-1]
        nn.init.zeros_(head.weight)  # type: ignore[arg-type]
        nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        mask = th.ones(n_all, 1, features_dim + action_dim)
        mask[: Credit.ADVANTAGE * n_members, :, features_dim:] = 0.0
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("mean", th.zeros(len(Credit), dtype=th.float64))
        self.register_buffer("std", th.zeros(len(Credit), dtype=th.float64))  # 0 until there are statistics

    @property
    def is_new(self) -> bool:
        """Whether it has no statistics yet."""
        return bool(self.std[Credit.VALUE] == 0)

    def forward(self, steps: th.Tensor) -> th.Tensor:
        """
        Standardised predictions of all members, of shape ``(3, n_members, batch_size)``, in the order of :class:`Credit`.

        :param steps: Features and encoded actions of what each member sees, of shape ``(n_members, batch_size, in_dim)``.
        """
        hidden = steps.repeat(len(Credit), 1, 1) * self.mask  # (3 * n_members, batch_size, in_dim)
        predictions: th.Tensor = self._run(hidden, slice(None)).unflatten(0, (len(Credit), self.n_members))
        return predictions

    def _run(self, hidden: th.Tensor, members: slice) -> th.Tensor:
        *hidden_layers, head = self.layers
        for layer in hidden_layers:
            hidden = nn.functional.leaky_relu(layer(hidden, members), NEGATIVE_SLOPE)
        predictions: th.Tensor = head(hidden, members).squeeze(-1)
        return predictions

    @th.no_grad()
    def predict(self, credit: Credit, steps: th.Tensor) -> th.Tensor:
        """
        Predictions of each member in env units and double precision, without gradients, of shape ``(n_members, n_steps)``.

        :param credit: What to predict.
        :param steps: Features and encoded actions, of shape ``(n_steps, in_dim)``.
        """
        members = slice(credit * self.n_members, (credit + 1) * self.n_members)
        predictions = self._run(steps * self.mask[members], members)
        return predictions.double() * self.std[credit] + self.mean[credit]

    @th.no_grad()
    def set_statistics(self, credit: Credit, mean: float, std: float) -> None:
        """
        Change the units of standardised predictions without changing any prediction in env units.

        :param credit: What is predicted.
        :param mean: New mean of the targets, in env units.
        :param std: New standard deviation of the targets, in env units; positive.
        """
        if self.std[credit] == 0:
            self.mean[credit] = mean
        members = slice(credit * self.n_members, (credit + 1) * self.n_members)
        head = self.layers[-1]
        assert isinstance(head, EnsembleLinear)
        head.bias[members] = ((head.bias[members].double() * self.std[credit] + self.mean[credit] - mean) / std).float()
        head.weight[members] *= (self.std[credit] / std).float()
        self.mean[credit], self.std[credit] = mean, std


class RewardPredictor(nn.Module):
    """
    MLP that predicts the reward of a step in env units, standardised inside.

    It starts as the constant ``mean``. The last layer is rescaled when the statistics change, so that every prediction stays
    as it was (arXiv 1602.07714).

    :param in_dim: Size of the features of an observation and an encoded action together.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    """

    mean: th.Tensor
    std: th.Tensor

    def __init__(self, in_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__()
        dims = [in_dim, *net_arch]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(dims):
            layers += [EnsembleLinear(1, n_in, n_out), activation_fn()]
        self.hidden_net = nn.Sequential(*layers)
        self.head = EnsembleLinear(1, dims[-1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", th.zeros((), dtype=th.float64))
        self.register_buffer("std", th.zeros((), dtype=th.float64))  # 0 until there are statistics

    def forward(self, steps: th.Tensor) -> th.Tensor:
        """
        Standardised rewards, of shape ``(batch_size,)``.

        :param steps: Features and encoded actions, of shape ``(batch_size, in_dim)``.
        """
        standardised: th.Tensor = self.head(self.hidden_net(steps.unsqueeze(0)))  # (1, batch_size, 1)
        return standardised.flatten()

    @th.no_grad()
    def predict(self, steps: th.Tensor) -> th.Tensor:
        """
        Rewards in env units and double precision, without gradients, of shape ``(n_steps,)``.

        :param steps: Features and encoded actions, of shape ``(n_steps, in_dim)``.
        """
        predictions: th.Tensor = self(steps).double() * self.std + self.mean
        return predictions

    @th.no_grad()
    def set_statistics(self, mean: float, std: float) -> None:
        """
        Change the units of standardised rewards without changing any prediction in env units.

        :param mean: New mean, in env units.
        :param std: New unit, in env units; positive.
        """
        if self.std == 0:
            self.mean.fill_(mean)
        self.head.bias.copy_((self.head.bias.double() * self.std + self.mean - mean) / std)
        self.head.weight.mul_(self.std / std)
        self.mean.fill_(mean)
        self.std.fill_(std)


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
