"""A prior that is not Gaussian, as one file: what `CONTRIBUTING.md` says of adding a prior."""

import math
from typing import NamedTuple

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.distributions import Normal

from sb3_gac.networks import PlanPrior
from sb3_gac.networks.log_std import clamp_log_std
from sb3_gac.type_aliases import PlanGaussian

LOG_STD_MIN, LOG_STD_MAX = -4.0, 1.0
N_COMPONENTS = 4


class PlanMixture(NamedTuple):
    """
    Mixture of diagonal Gaussians over plans; the last number of the noise chooses the component.

    :param log_weights: Logarithms of weights that sum to one, of shape ``(batch_size, n_components)``.
    :param means: Of shape ``(batch_size, n_components, plan_dim)``.
    :param log_stds: Of shape ``(batch_size, n_components, plan_dim)``.
    """

    log_weights: th.Tensor
    means: th.Tensor
    log_stds: th.Tensor

    def at(self, plan_noise: th.Tensor) -> th.Tensor:
        *_, n_components = self.log_weights.shape
        edges = self.log_weights.exp().cumsum(dim=-1)[..., :-1]
        quantile = 0.5 * (1 + th.erf(plan_noise[..., -1:] / math.sqrt(2)))
        chosen = nn.functional.one_hot((quantile > edges).sum(dim=-1), n_components).unsqueeze(-1)  # (..., n_components, 1)
        mean, log_std = ((chosen * parameter).sum(dim=-2) for parameter in (self.means, self.log_stds))
        return mean + log_std.exp() * plan_noise[..., :-1]

    def for_many(self) -> "PlanMixture":
        return PlanMixture(*(part.unsqueeze(1) for part in self))

    def log_prob(self, plans: th.Tensor) -> th.Tensor:
        """
        Log-density of plans, of shape ``(batch_size,)``.

        :param plans: Of shape ``(batch_size, plan_dim)``.
        """
        of_components = Normal(self.means, self.log_stds.exp()).log_prob(plans.unsqueeze(-2)).sum(dim=-1)
        log_density: th.Tensor = (self.log_weights + of_components).logsumexp(dim=-1)
        return log_density

    def kl_of(self, posterior: PlanGaussian, plans: th.Tensor) -> th.Tensor:
        """The log-ratio at the sampled plans: there is no closed form."""
        own: th.Tensor = Normal(posterior.mean, posterior.log_std.exp()).log_prob(plans).sum(dim=-1)
        return own - self.log_prob(plans)


class MixturePrior(PlanPrior):
    """Mixture of Gaussians, with weights, means and standard deviations that depend on o_1."""

    def __init__(self, features_dim: int, plan_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__(features_dim, plan_dim, net_arch, activation_fn)
        self.noise_dim = plan_dim + 1
        *hidden_layers, head = create_mlp(features_dim, N_COMPONENTS * (1 + 2 * plan_dim), net_arch, activation_fn)
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        nn.init.normal_(head.bias, std=0.5)  # components that begin alike would stay alike
        self.net = nn.Sequential(*hidden_layers, head)

    def forward(self, first_features: th.Tensor) -> PlanMixture:
        outputs = self.net(first_features).unflatten(-1, (N_COMPONENTS, -1))  # (batch_size, n_components, 1 + 2 * plan_dim)
        logits, (means, log_stds) = outputs[..., 0], outputs[..., 1:].chunk(2, dim=-1)
        return PlanMixture(logits.log_softmax(dim=-1), means, clamp_log_std(log_stds, LOG_STD_MIN, LOG_STD_MAX))
