"""Types, and tuples that travel between the layers of the package."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch as th

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
TensorObs = th.Tensor | dict[str, th.Tensor]
NetArch = list[int] | dict[str, list[int]]
# str | Path | Sequence[Trajectory] | ReplayBuffer | OfflineDataset | minari.MinariDataset, whose modules are not needed to act
DatasetSource: TypeAlias = Any


class TrajectoryBatch(NamedTuple):
    """
    Trajectories, or segments of them, sampled from a buffer, each seen through ``n_steps`` of its steps.

    Steps are drawn with replacement among the real steps of each: there is no padding.

    :param observations: Sampled observations, of shape ``(batch_size, n_steps, *obs_shape)`` in the dtype of the space;
        a dict of such tensors for Dict spaces.
    :param actions: Buffer actions of the same steps, of shape ``(batch_size, n_steps, action_dim)``;
        Box actions lie in [-1, 1], the others are the integers as floats.
    :param first_observations: First observation of each, of shape ``(batch_size, *obs_shape)``.
    :param returns: Undiscounted return of each whole trajectory in env units, of shape ``(batch_size,)``.
    :param advantages: Standardised advantage of each segment, of shape ``(batch_size,)``; 0 for whole trajectories.
    :param lengths: Number of steps of each, of shape ``(batch_size,)``.
    :param ages: Number of steps taken before each sampled step, of shape ``(batch_size, n_steps)``.
    :param weights: What the likelihood of each sampled action counts, one on average, of shape ``(batch_size, n_steps)``.
    """

    observations: TensorObs
    actions: th.Tensor
    first_observations: TensorObs
    returns: th.Tensor
    advantages: th.Tensor
    lengths: th.Tensor
    ages: th.Tensor
    weights: th.Tensor

    def take(self, rows: th.Tensor) -> "TrajectoryBatch":
        """
        Some of the trajectories.

        :param rows: Their indices, of shape ``(batch_size,)``.
        """

        def take(part: Any) -> Any:
            return {key: value[rows] for key, value in part.items()} if isinstance(part, dict) else part[rows]

        return TrajectoryBatch(*map(take, self))

    @staticmethod
    def concatenate(batches: "Sequence[TrajectoryBatch]") -> "TrajectoryBatch":
        """
        One batch of the trajectories of several.

        :param batches: Batches that see their trajectories through equally many steps; at least one.
        """
        if len(batches) == 1:
            return batches[0]

        def join(parts: tuple[Any, ...]) -> Any:
            if isinstance(parts[0], dict):
                return {key: th.cat([part[key] for part in parts]) for key in parts[0]}
            return th.cat(parts)

        return TrajectoryBatch(*map(join, zip(*batches, strict=True)))


class PlanDistribution(Protocol):
    """What a prior gives: distributions over plans, one per row, whose plans are made of standard normal noise."""

    def at(self, plan_noise: th.Tensor, /) -> th.Tensor:
        """
        Plans that the given noise stands for, of shape ``(batch_size, plan_dim)``.

        :param plan_noise: Standard normal noise, of shape ``(batch_size, noise_dim)``.
        """

    def for_many(self) -> "PlanDistribution":
        """The same for many plans of each row: ``at`` takes and gives tensors of shape ``(batch_size, n_plans, ...)``."""

    def kl_of(self, posterior: "PlanGaussian", plans: th.Tensor, /) -> th.Tensor:
        """
        KL(posterior || self) in nats, of shape ``(batch_size,)``, or an unbiased estimate of it.

        :param posterior: The Gaussian that diverges.
        :param plans: Samples of it, of shape ``(batch_size, plan_dim)``, for those that have no closed form.
        """


class PlanGaussian(NamedTuple):
    """
    Diagonal Gaussian over plans: the prior p(z | o_1) or the posterior q(z | trajectory).

    :param mean: Mean of the plan, of shape ``(batch_size, plan_dim)``.
    :param log_std: Log standard deviation of the plan, of shape ``(batch_size, plan_dim)``.
    """

    mean: th.Tensor
    log_std: th.Tensor

    def at(self, plan_noise: th.Tensor) -> th.Tensor:
        """
        Plan that the given noise stands for, mean + std * noise.

        :param plan_noise: Standard normal noise of a shape that broadcasts with the mean.
        """
        return self.mean + self.log_std.exp() * plan_noise

    def kl_from(self, prior: "PlanGaussian") -> th.Tensor:
        """
        KL(self || prior) in nats, of shape ``(batch_size,)``.

        :param prior: The Gaussian to diverge from.
        """
        log_ratio = 2 * (self.log_std - prior.log_std)  # of the variances
        distance = (self.mean - prior.mean) * (-prior.log_std).exp()
        return 0.5 * (log_ratio.expm1() - log_ratio + distance.square()).sum(dim=-1)

    def kl_of(self, posterior: "PlanGaussian", plans: th.Tensor) -> th.Tensor:
        """
        KL(posterior || self) in nats, of shape ``(batch_size,)``.

        :param posterior: The Gaussian that diverges.
        :param plans: Not needed: there is a closed form.
        """
        return posterior.kl_from(self)

    def for_many(self) -> "PlanGaussian":
        """The same for many plans of each row."""
        return PlanGaussian(self.mean.unsqueeze(1), self.log_std.unsqueeze(1))


class ElboTerms(NamedTuple):
    """
    The terms of the evidence lower bound, in nats, one value per trajectory of shape ``(batch_size,)``.

    :param action_log_prob: Mean log-likelihood of one action, log π(a_t | o_t, z), weighted where steps are.
    :param return_log_prob: Log-likelihood of the standardised return, log p(y | z, o_1), averaged over the ensemble.
    :param advantage_log_prob: That of the standardised advantage of a segment; 0 for plans of whole trajectories.
    :param kl: Divergence of the posterior from the prior, KL(q(z | trajectory) || p(z | o_1)).
    """

    action_log_prob: th.Tensor
    return_log_prob: th.Tensor
    advantage_log_prob: th.Tensor
    kl: th.Tensor


class StepTable(NamedTuple):
    """
    Steps of a buffer, one trajectory after the other.

    :param indices: Where the buffer keeps each step, in its arrays laid end to end, of shape ``(n_steps,)``.
    :param lengths: Numbers of steps, of shape ``(n_trajectories,)``.
    :param returns: Undiscounted returns in env units, of shape ``(n_trajectories,)``.
    :param is_terminated: Whether nothing follows the last step, of shape ``(n_trajectories,)``.
    :param ids: Numbers of the trajectories, which they keep as long as the buffer holds them, of shape ``(n_trajectories,)``.
    """

    indices: Array
    lengths: Array
    returns: Array
    is_terminated: Array
    ids: Array

    @staticmethod
    def concatenate(tables: "Sequence[StepTable]") -> "StepTable":
        """
        One table of the steps of several buffers; the indices are then those of no single buffer.

        :param tables: At least one table.
        """
        return StepTable(*map(np.concatenate, zip(*tables, strict=True)))
