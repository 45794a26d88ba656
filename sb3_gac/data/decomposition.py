"""Which steps of trajectories their returns must have come from."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.data.regression import fit
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


def decompose_returns(trajectories: Sequence[Trajectory]) -> Array:
    """
    Rewards of single steps that explain the returns of whole trajectories.

    A network of the observation is fitted so that its sum over each trajectory is the return (return decomposition,
    arXiv 1806.07857, 2111.13485).

    :param trajectories: At least one trajectory; their observations are vectors, or dicts of vectors.
    :return: The rewards of all steps, in order, of shape ``(n_steps,)``.
    :raises ValueError: when observations are images.
    """
    rows = StandardizedObservations(trajectories).rows
    lengths = th.tensor([len(trajectory) for trajectory in trajectories])
    starts = lengths.cumsum(0) - lengths
    returns = th.tensor([trajectory.total_return for trajectory in trajectories], dtype=th.float32)
    scale = th.maximum(returns.std(correction=0), MIN_SPREAD * returns.square().mean().sqrt()).clamp(min=MIN_SCALE)
    unit = scale / lengths.float().mean().sqrt()
    # Rewards may change within a step or two, which a network of the bare observation learns last
    features = FourierFeatures(rows.shape[1], N_WAVES, WAVE_SCALE)(rows)
    net = nn.Sequential(*create_mlp(features.shape[1], 1, NET_ARCH))

    def draw_loss() -> th.Tensor:
        drawn = th.randint(len(lengths), (BATCH_SIZE,))
        owner = th.arange(BATCH_SIZE).repeat_interleave(lengths[drawn])  # of each step of the batch
        offsets = starts[drawn] - (lengths[drawn].cumsum(0) - lengths[drawn])
        steps = th.arange(len(owner)) + offsets[owner]
        sums = th.zeros(BATCH_SIZE).index_add(0, owner, net(features[steps]).squeeze(-1) * unit)
        return ((sums - returns[drawn]) / scale).square().mean()

    fit(net, draw_loss, GRADIENT_STEPS, LEARNING_RATE)
    with th.no_grad():
        rewards: Array = (net(features).squeeze(-1) * unit).double().numpy()
    return rewards
