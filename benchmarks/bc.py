"""Behaviour cloning with one of GAC's decoders, without a plan."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import GymEnv

from sb3_gac import GAC, LatentPlanPolicy
from sb3_gac.data import Trajectory
from sb3_gac.type_aliases import ElboTerms, TrajectoryBatch

# The mean of N(0, I) is then the only plan there is, and one network with a Gaussian clones it, as elsewhere
PLAIN = {
    "n_decoders": 1,
    "use_isotropic_gaussian": False,
    "nll_beta": 0.0,
    "n_waves": 0,
    "use_conditional_prior": False,
    "use_encoder": False,
    "n_candidates": 1,
    "clock_scale": 0.0,
    "exploit_steps": 0,
}


class BehaviourCloning(GAC):
    """
    GAC without plans: a single decoder, given a plan of zeros, the same optimiser and number of actions per step.

    Transitions are drawn uniformly and independently, which suits cloning better than so many steps of each of a few
    trajectories. It learns offline only; for 10 % BC, hand it the :func:`best_trajectories`.

    :param policy: as GAC's.
    :param env: as GAC's.
    :param policy_kwargs: as GAC's; what concerns plans, several decoders, waves, the Gaussian or weights has no effect.
    :param kwargs: the other arguments of GAC; what concerns plans and returns has no effect.
    """

    def __init__(
        self,
        policy: str | type[LatentPlanPolicy],
        env: GymEnv | str | None = None,
        *,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"completion_horizon": None, "advantage_temperature": None}  # clone what was recorded, all steps alike
        super().__init__(policy, env, policy_kwargs={**(policy_kwargs or {}), **PLAIN}, **kwargs)

    def _sample_batch(self, batch_size: int, n_steps: int) -> TrajectoryBatch:
        """As many actions as GAC scores, the encoder's share left out, each from a trajectory of its own."""
        assert self.offline_buffer is not None, "behaviour cloning needs a data set"
        return self.offline_buffer.sample(batch_size * self.n_score_steps, 1, self._vec_normalize_env)

    def _elbo(self, batch: TrajectoryBatch) -> ElboTerms:
        features = self.policy.step_features(batch.observations, batch.ages)
        plans = features.new_zeros(len(features), self.actor.plan_dim)
        action_log_prob = self.actor.model.action_log_prob(features, batch.actions, plans).mean(dim=1)
        nothing = th.zeros_like(action_log_prob)
        return ElboTerms(action_log_prob, return_log_prob=nothing, kl=nothing)


def best_trajectories(trajectories: Sequence[Trajectory], fraction: float = 0.1) -> list[Trajectory]:
    """
    The fewest trajectories with the highest returns that together hold a fraction of all transitions, best first.

    :param trajectories: a data set.
    :param fraction: share of the transitions, in (0, 1].
    :raises ValueError: when the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction must lie in (0, 1], not {fraction}")
    ranked = sorted(trajectories, key=lambda trajectory: trajectory.total_return, reverse=True)
    n_steps = np.cumsum([len(trajectory) for trajectory in ranked])
    n_best = int(np.searchsorted(n_steps, fraction * n_steps[-1])) + 1
    return ranked[:n_best]
