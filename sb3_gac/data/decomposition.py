"""Which steps of trajectories their returns must have come from."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.data.standardization import StandardizedObservations
from sb3_gac.data.trajectory import Array, Trajectory
from sb3_gac.fourier import FourierFeatures

GRADIENT_STEPS = 1000
BATCH_SIZE = 64  # whole trajectories
LEARNING_RATE = 3e-3
NET_ARCH = [64, 64]
N_WAVES, WAVE_SCALE = 32, 1.5  # of the Fourier features of an observation
MIN_SCALE = 1e-8
MIN_SPREAD = 0.3  # of returns, as a share of their size: where all are alike, their differences are no scale


class ReturnDecomposition:
    """
    Rewards of single steps that explain the returns of whole trajectories.

    A network of the observation is fitted so that its sum over each trajectory is the return (return decomposition,
    arXiv 1806.07857). Sums over all steps also find a reward that is paid once in a long trajectory.

    :param trajectories: At least one trajectory; their observations are vectors, or dicts of vectors.
    :raises ValueError: when observations are images.
    """

    rewards: Array
    """Of all steps, in order, of shape ``(n_steps,)``."""

    def __init__(self, trajectories: Sequence[Trajectory]) -> None:
        rows = StandardizedObservations(trajectories).rows
        lengths = th.tensor([len(trajectory) for trajectory in trajectories])
        starts = lengths.cumsum(0) - lengths
        returns = th.tensor([trajectory.total_return for trajectory in trajectories], dtype=th.float32)
        scale = th.maximum(returns.std(correction=0), MIN_SPREAD * returns.square().mean().sqrt()).clamp(min=MIN_SCALE)
        self._unit = scale / lengths.float().mean().sqrt()
        # Rewards may change within a step or two, which a network of the bare observation learns last
        self._features = FourierFeatures(rows.shape[1], N_WAVES, WAVE_SCALE)
        features = self._features(rows)
        self._net = nn.Sequential(*create_mlp(features.shape[1], 1, NET_ARCH))

        def sum_all(drawn: th.Tensor) -> th.Tensor:
            owner = th.arange(BATCH_SIZE).repeat_interleave(lengths[drawn])  # of each step of the batch
            offsets = starts[drawn] - (lengths[drawn].cumsum(0) - lengths[drawn])
            steps = th.arange(len(owner)) + offsets[owner]
            return th.zeros(BATCH_SIZE).index_add(0, owner, self._net(features[steps]).squeeze(-1))

        optimizer = th.optim.Adam(self._net.parameters(), LEARNING_RATE)
        schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, GRADIENT_STEPS)
        for _ in range(GRADIENT_STEPS):
            drawn = th.randint(len(lengths), (BATCH_SIZE,))
            loss = ((sum_all(drawn) * self._unit - returns[drawn]) / scale).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.rewards = self.reward(rows)

    @th.no_grad()
    def reward(self, rows: th.Tensor) -> Array:
        """
        What a step from each of these observations is worth, of shape ``(n_rows,)``.

        :param rows: Observations as :class:`~sb3_gac.data.standardization.StandardizedObservations` of the same trajectories
            standardises them, of shape ``(n_rows, n_entries)``.
        """
        rewards: Array = (self._net(self._features(rows)).squeeze(-1) * self._unit).double().numpy()
        return rewards
