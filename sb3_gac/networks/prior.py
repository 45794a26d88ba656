"""The plan prior p(z | o_1)."""

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.networks.log_std import clamp_log_std
from sb3_gac.type_aliases import PlanGaussian

LOG_STD_MIN, LOG_STD_MAX = -4.0, 1.0


class PlanPrior(nn.Module):
    """
    Gaussian prior over plans, z = μ(o_1) + σ(o_1) ε, optionally bent by a residual network before it is used.

    The three forms of the method are one module: ``conditional=False`` is N(0, I), ``conditional=True`` (default)
    lets the first observation move and scale the plan noise, and ``residual=True`` adds the learned map of Latent Plan
    Transformer (arXiv 2402.04647). Inference always happens on the Gaussian variable, so that the divergence from the
    posterior has a closed form; ``embed`` applies the map on the way into the decoder and the return predictor.

    :param features_dim: Size of the features of the first observation.
    :param plan_dim: Size of a plan.
    :param net_arch: Hidden layers of both networks.
    :param activation_fn: Activation of both networks.
    :param conditional: Whether the prior knows the first observation.
    :param residual: Whether plans are bent by a learned residual.
    """

    def __init__(
        self,
        features_dim: int,
        plan_dim: int,
        net_arch: list[int],
        activation_fn: type[nn.Module],
        conditional: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.plan_dim = plan_dim
        self.gaussian_net: nn.Sequential | None = None
        self.residual_net: nn.Sequential | None = None
        if conditional:
            self.gaussian_net = _zero_last_layer(create_mlp(features_dim, 2 * plan_dim, net_arch, activation_fn))
        if residual:
            self.residual_net = _zero_last_layer(create_mlp(plan_dim, plan_dim, net_arch, activation_fn))

    def forward(self, first_features: th.Tensor) -> PlanGaussian:
        """
        Mean and log standard deviation of the plan given the first observation.

        :param first_features: Features of first observations, of shape ``(batch_size, features_dim)``.
        """
        if self.gaussian_net is None:
            zeros = first_features.new_zeros(first_features.shape[0], self.plan_dim)
            return PlanGaussian(zeros, zeros)
        mean, log_std = self.gaussian_net(first_features).chunk(2, dim=-1)
        return PlanGaussian(mean, clamp_log_std(log_std, LOG_STD_MIN, LOG_STD_MAX))

    def embed(self, plans: th.Tensor) -> th.Tensor:
        """
        What the decoder and the return predictor see of a plan: z + h(z) with a residual, z itself without.

        :param plans: Plans of shape ``(..., plan_dim)``.
        """
        return plans if self.residual_net is None else plans + self.residual_net(plans)


def _zero_last_layer(layers: list[nn.Module]) -> nn.Sequential:
    """Make the network start from zero: the prior begins as N(0, I), the residual as the identity."""
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers)
