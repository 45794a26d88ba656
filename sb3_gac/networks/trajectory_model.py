"""The generative model of trajectories and returns."""

import torch as th
from torch import nn

from sb3_gac.networks.decoder import PlanDecoder
from sb3_gac.networks.prior import PlanPrior
from sb3_gac.networks.return_predictor import ReturnPredictor
from sb3_gac.type_aliases import PlanDistribution

MIN_RETURN_SPREAD = 1e-6  # as a fraction of their size: what differs less is rounding


class TrajectoryModel(nn.Module):
    """
    p(z | o_1) p(τ | z) p(y | z, o_1): given its plan, what a trajectory does and what it returns are independent.

    :param prior: Prior over plans.
    :param decoder: Policy that follows a plan.
    :param return_predictor: Distribution of the return of the trajectory that follows a plan.
    :param advantage_predictor: Distribution of the standardised advantage of the segment that follows it; ``None`` where plans
        are of whole trajectories.
    """

    def __init__(
        self,
        prior: PlanPrior,
        decoder: PlanDecoder,
        return_predictor: ReturnPredictor,
        advantage_predictor: ReturnPredictor | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.decoder = decoder
        self.return_predictor = return_predictor
        self.advantage_predictor = advantage_predictor

    @property
    def critic(self) -> ReturnPredictor:
        """What exploitation maximises: the advantage of segments, the return of whole trajectories."""
        return self.return_predictor if self.advantage_predictor is None else self.advantage_predictor

    def plan_prior(self, first_features: th.Tensor) -> PlanDistribution:
        """
        p(z | o_1).

        :param first_features: Features of the first observations, of shape ``(batch_size, features_dim)``.
        """
        distribution: PlanDistribution = self.prior(first_features)
        return distribution

    def action_log_prob(self, features: th.Tensor, actions: th.Tensor, plans: th.Tensor) -> th.Tensor:
        """
        log p(a_t | o_t, z), of shape ``(batch_size, n_steps)``.

        :param features: Features of the observations, of shape ``(batch_size, n_steps, features_dim)``.
        :param actions: Buffer actions, of shape ``(batch_size, n_steps, action_dim)``.
        :param plans: Plans of shape ``(batch_size, plan_dim)``.
        """
        return self.decoder.action_log_prob(features, actions, plans)

    def act(self, features: th.Tensor, plans: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        Buffer actions of shape ``(n_envs, action_dim)``.

        :param features: Features of the current observations, of shape ``(n_envs, features_dim)``.
        :param plans: Plans being followed, of shape ``(n_envs, plan_dim)``.
        :param deterministic: Whether to take the most likely action.
        """
        return self.decoder.act(features, plans, deterministic)

    def set_return_statistics(self, returns: th.Tensor) -> None:
        """
        Standardise returns by those of a sample.

        Where all are alike their differences are no scale: it stays as it was, or is their size where there was none.

        :param returns: In env units, of shape ``(n_trajectories,)``.
        """
        predictor = self.return_predictor
        returns = returns.cpu().double()  # squares of large ones do not fit float32
        std, size = returns.std(correction=0).item(), returns.square().mean().sqrt().item()
        if std <= MIN_RETURN_SPREAD * size or std == 0:
            std = predictor.return_std.item() if predictor.has_statistics else size or 1.0
        predictor.set_statistics(returns.mean().item(), std)
