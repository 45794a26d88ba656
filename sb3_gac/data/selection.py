"""Which trajectories of a buffer to learn from: any, or the best."""

from collections.abc import Callable

import torch as th
from stable_baselines3.common.vec_env import VecNormalize

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.type_aliases import TensorObs, TrajectoryBatch


def sample_with_best(
    buffer: TrajectoryReplayBuffer,
    batch_size: int,
    n_steps: int,
    env: VecNormalize | None,
    best_ratio: float,
    best_fraction: float,
    baseline: Callable[[TensorObs], th.Tensor] | None = None,
) -> TrajectoryBatch:
    """
    Sample trajectories of one buffer, a share of them among its best.

    :param buffer: Buffer to draw from.
    :param batch_size: Number of trajectories.
    :param n_steps: Number of steps that each is seen through.
    :param env: Normaliser of the observations.
    :param best_ratio: Share of the trajectories drawn among the best.
    :param best_fraction: Share of all that are the best: of the transitions with returns alone, of the trajectories with a
        baseline.
    :param baseline: Return to expect from first observations, of shape ``(batch_size,)``: the best are then those that
        exceed it most. ``None`` ranks by the return alone.
    """
    n_best = round(best_ratio * batch_size)
    if baseline is None or n_best == 0:
        return buffer.sample(batch_size, n_steps, env, best_ratio, best_fraction)
    rivals = buffer.sample(max(round(n_best / best_fraction), batch_size), n_steps, env)
    advantages = rivals.returns - baseline(rivals.first_observations)
    best = advantages.topk(n_best).indices
    rest = th.arange(batch_size - n_best, device=best.device)  # the rivals come in random order
    return rivals.take(th.cat((best, rest)))
