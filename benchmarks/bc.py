"""Behaviour cloning with GAC's decoder, without a plan: what a plan is worth is read against it."""

from collections.abc import Sequence

import numpy as np
import torch as th

from benchmarks.recipes import HYPERPARAMS
from sb3_gac import GAC
from sb3_gac.data import Trajectory
from sb3_gac.type_aliases import ElboTerms, TrajectoryBatch

CLONING = HYPERPARAMS / "bc.yml"


class BehaviourCloning(GAC):
    """
    GAC whose plan is zero and whose decoder learns alone, from independent transitions, as many as GAC scores actions.

    Made from the settings of ``hyperparams/bc.yml``; it learns offline only.
    """

    def _sample_batch(self, batch_size: int, n_steps: int) -> TrajectoryBatch:
        assert self.offline_buffer is not None, "behaviour cloning needs a data set"
        return self.offline_buffer.sample(batch_size * self.n_sampled_steps, 1, self._vec_normalize_env)

    def _elbo(self, batch: TrajectoryBatch) -> ElboTerms:
        features = self.policy.step_features(batch.observations, batch.ages)
        plans = features.new_zeros(len(features), self.policy.plan_dim)
        action_log_prob = self.policy.model.action_log_prob(features, batch.actions, plans).mean(dim=1)
        nothing = th.zeros_like(action_log_prob)
        return ElboTerms(action_log_prob, return_log_prob=nothing, advantage_log_prob=nothing, kl=nothing)


def best_trajectories(trajectories: Sequence[Trajectory], fraction: float = 0.1) -> list[Trajectory]:
    """
    The fewest trajectories with the highest returns that together hold a fraction of all transitions, best first.

    :param trajectories: A data set.
    :param fraction: Fraction of the transitions, in (0, 1].
    :raises ValueError: when the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction must lie in (0, 1], not {fraction}")
    ranked = sorted(trajectories, key=lambda trajectory: trajectory.total_return, reverse=True)
    n_steps = np.cumsum([len(trajectory) for trajectory in ranked])
    n_best = int(np.searchsorted(n_steps, fraction * n_steps[-1])) + 1
    return ranked[:n_best]
