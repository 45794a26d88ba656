"""The generative model of trajectories and returns."""

import torch as th
from torch import nn

from sb3_gac.networks.decoder import PlanDecoder
from sb3_gac.networks.prior import PlanPrior
from sb3_gac.networks.return_predictor import ReturnPredictor
from sb3_gac.type_aliases import PlanGaussian


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

    def plan_prior(self, first_features: th.Tensor) -> PlanGaussian:
        """
        p(z | o_1).

        :param first_features: Features of the first observations, of shape ``(batch_size, features_dim)``.
        """
        gaussian: PlanGaussian = self.prior(first_features)
        return gaussian

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
