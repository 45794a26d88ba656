"""Another way to plan, as one file: what `CONTRIBUTING.md` says of adding a planner."""

from typing import Any, ClassVar

import torch as th

from sb3_gac.arguments import check_at_least
from sb3_gac.inference import Planner, plan_score
from sb3_gac.inference.exploit import PRIOR_WEIGHT
from sb3_gac.networks import TrajectoryModel


class CrossEntropyPlanner(Planner):
    """
    Exploitation by the cross-entropy method: a Gaussian over the noise of plans, fitted to its own best samples in turn.

    The samples are the fixed candidates, shifted and scaled: nothing is random.

    :param n_rounds: How often it is fitted.
    :param n_elites: Best samples that it is fitted to.
    :param kwargs: See :class:`Planner`.
    """

    settings: ClassVar[tuple[str, ...]] = (*Planner.settings, "n_rounds", "n_elites")

    def __init__(self, noise_dim: int, plan_horizon: int | None, n_rounds: int = 4, n_elites: int = 16, **kwargs: Any) -> None:
        self.n_rounds, self.n_elites = n_rounds, n_elites
        super().__init__(noise_dim, plan_horizon, **kwargs)
        check_at_least(self, n_rounds=1, n_elites=1)

    @th.no_grad()
    def exploit(self, model: TrajectoryModel, first_features: th.Tensor, target_return: th.Tensor | None = None) -> th.Tensor:
        n_envs, (n_candidates, noise_dim) = len(first_features), self.candidate_noise.shape
        prior = model.plan_prior(first_features).for_many()
        contexts = first_features.repeat_interleave(n_candidates, dim=0)
        targets = None if target_return is None else target_return.repeat_interleave(n_candidates)
        mean = first_features.new_zeros(n_envs, 1, noise_dim)
        std = th.ones_like(mean)
        for _ in range(self.n_rounds):
            noise = mean + std * self.candidate_noise  # (n_envs, n_candidates, noise_dim)
            scores = plan_score(model, prior.at(noise).flatten(0, 1), contexts, targets).view(n_envs, n_candidates)
            scores = scores - PRIOR_WEIGHT * 0.5 * noise.square().sum(dim=-1)
            best = scores.topk(min(self.n_elites, n_candidates), dim=1).indices.unsqueeze(-1)
            elites = noise.gather(1, best.expand(-1, -1, noise_dim))
            mean, std = elites.mean(dim=1, keepdim=True), elites.std(dim=1, correction=0, keepdim=True)
        return prior.at(mean).squeeze(1)
