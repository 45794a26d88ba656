"""The return predictor p(y | z, o_1)."""

import math
from itertools import pairwise

import torch as th
from torch import nn

from sb3_gac.networks.log_std import clamp_log_std

LOG_STD_MIN, LOG_STD_MAX = -3.0, 1.0


class EnsembleLinear(nn.Module):
    """
    One linear layer per member, applied in a single batched product.

    :param n_members: Number of members.
    :param in_features: Size of the input.
    :param out_features: Size of the output.
    """

    def __init__(self, n_members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)  # as nn.Linear
        self.weight = nn.Parameter(th.empty(n_members, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(n_members, 1, out_features).uniform_(-bound, bound))

    def forward(self, inputs: th.Tensor, members: slice = slice(None)) -> th.Tensor:
        """
        Outputs of shape ``(n_members, batch_size, out_features)``.

        :param inputs: Inputs of shape ``(n_members, batch_size, in_features)``.
        :param members: Those to run, all by default.
        """
        return th.baddbmm(self.bias[members], inputs, self.weight[members])


class ReturnPredictor(nn.Module):
    """
    Ensemble of Gaussian heads over the return of a trajectory, given its plan and its first observation.

    The networks speak in standardised returns; the statistics are kept here, saved with the model, and the last layer
    is rescaled when they change so that every predicted return stays as it was in env units (arXiv 1602.07714).

    :param features_dim: Size of the features of the first observation.
    :param plan_dim: Size of a plan.
    :param net_arch: Hidden layers of each member.
    :param activation_fn: Activation of the hidden layers.
    :param n_members: Number of members.
    """

    return_mean: th.Tensor
    return_std: th.Tensor
    has_statistics: th.Tensor

    def __init__(
        self,
        features_dim: int,
        plan_dim: int,
        net_arch: list[int],
        activation_fn: type[nn.Module],
        n_members: int = 5,
    ) -> None:
        super().__init__()
        self.n_members = n_members
        dims = [plan_dim + features_dim, *net_arch]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(dims):
            layers += [EnsembleLinear(n_members, n_in, n_out), activation_fn()]
        self.hidden_net = nn.Sequential(*layers)
        self.head = EnsembleLinear(n_members, dims[-1], 2)
        self.register_buffer("return_mean", th.zeros(()))
        self.register_buffer("return_std", th.ones(()))
        self.register_buffer("has_statistics", th.zeros(()))  # a float, as all that a policy saves

    def forward(self, plans: th.Tensor, first_features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Mean and log standard deviation of the standardised return by each member, of shape ``(n_members, batch_size)``.

        :param plans: Plans of shape ``(batch_size, plan_dim)``.
        :param first_features: Features of the first observations, of shape ``(batch_size, features_dim)``.
        """
        inputs = th.cat((plans, first_features), dim=-1)
        mean, log_std = self.head(self.hidden_net(inputs.expand(self.n_members, -1, -1))).unbind(dim=-1)
        return mean, clamp_log_std(log_std, LOG_STD_MIN, LOG_STD_MAX)

    def log_prob(self, returns: th.Tensor, plans: th.Tensor, first_features: th.Tensor) -> th.Tensor:
        """
        Log-likelihood of the standardised returns, averaged over the members, of shape ``(batch_size,)``.

        :param returns: Returns in env units, of shape ``(batch_size,)``.
        :param plans: Plans of shape ``(batch_size, plan_dim)``.
        :param first_features: Features of the first observations, of shape ``(batch_size, features_dim)``.
        """
        mean, log_std = self(plans, first_features)
        error = (self.standardise(returns) - mean) * (-log_std).exp()
        log_probs: th.Tensor = -0.5 * error.square() - log_std - 0.5 * math.log(2 * math.pi)
        return log_probs.mean(dim=0)

    def standardise(self, returns: th.Tensor) -> th.Tensor:
        """
        Returns in units of the data's standard deviation.

        :param returns: Returns in env units.
        """
        return (returns - self.return_mean) / self.return_std

    def unstandardise(self, standardised: th.Tensor) -> th.Tensor:
        """
        Returns in env units.

        :param standardised: Standardised returns.
        """
        return standardised * self.return_std + self.return_mean

    @th.no_grad()
    def set_statistics(self, mean: float, std: float) -> None:
        """
        Change the units of the standardised return without changing any predicted return in env units.

        The first statistics are taken as they are: a new network has nothing to keep, and would start far from them. The
        log standard deviations stay as they are in standardised units: the predictor doubts in proportion to the data.

        :param mean: New mean of the returns, in env units.
        :param std: New standard deviation of the returns, in env units.
        """
        if self.has_statistics:
            self.head.bias[..., 0] = (self.unstandardise(self.head.bias[..., 0]) - mean) / std
            self.head.weight[..., 0] *= self.return_std / std
        self.return_mean.fill_(mean)
        self.return_std.fill_(std)
        self.has_statistics.fill_(1.0)
