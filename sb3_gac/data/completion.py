"""What trajectories that were cut before the horizon would have gone on to do and to return."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.data.trajectory import Array, Trajectory, map_observations, observation_items
from sb3_gac.random_state import fork_random_state

HOLD_STEPS = 30  # enough to show that a plan ends at rest, few enough to leave the way there in sight
MIN_REST = 10  # steps of the shortest rest of a trajectory

GRADIENT_STEPS = 1000
BATCH_SIZE = 64  # whole trajectories
LEARNING_RATE = 3e-3
NET_ARCH = [64, 64]
N_WAVES, WAVE_NUMBER = 32, 1.5  # of the random Fourier features, per standard deviation of an observation
MIN_STD = 1e-8


def complete_trajectories(trajectories: Sequence[Trajectory], horizon: int) -> list[Trajectory]:
    """
    Let trajectories that were truncated before the horizon go on as they ended, and add the rest of each from some step on.

    A recording that is cut where its aim is reached says little of what reaching it is worth to an episode that goes
    on: to pass by may even return more. Each such trajectory is given the return of staying where it ended up to the
    horizon, and a few steps of staying there. The rests start plans from any state of the data, so that they can be made
    anew on the way, and from where a trajectory stays, so that staying is a plan as well. What terminated, or lasted the
    horizon, keeps its return. The rewards of single steps are never looked at: :func:`decompose_returns` tells what they
    must have been.

    :param trajectories: A data set whose observations are vectors, or dicts of vectors.
    :param horizon: Steps of an episode in the environment.
    :return: For each trajectory the completed one, then its rest from a random step on, both with their return at their
        last step; the same for the same data.
    :raises ValueError: when the horizon is not positive, or observations are images.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be a positive number of steps, got {horizon}")
    with fork_random_state(0):
        completed = []
        for trajectory, rewards in zip(trajectories, decompose_returns(trajectories), strict=True):
            n_missing = 0 if trajectory.terminated else max(horizon - len(trajectory), 0)
            n_held = min(HOLD_STEPS, n_missing)
            completed.append(_rest(trajectory, rewards, 0, n_held, horizon))
            if (n_starts := len(trajectory) + n_held - MIN_REST) > 1:
                completed.append(_rest(trajectory, rewards, np.random.randint(1, n_starts), n_held, horizon))
    return completed


def _rest(trajectory: Trajectory, rewards: Array, start: int, n_held: int, horizon: int) -> Trajectory:
    """The trajectory, held at its end for some steps, from one of its steps on."""
    last = len(trajectory) - 1
    steps = np.minimum(np.arange(start, len(trajectory) + n_held), last)
    past = rewards[np.minimum(np.arange(start), last)].sum()
    n_missing = 0 if trajectory.terminated else max(horizon - len(trajectory) + start, 0)
    shown = np.zeros(len(steps))
    shown[-1] = trajectory.total_return - past + n_missing * rewards[-1]
    return replace(
        trajectory,
        observations=map_observations(lambda array: array[steps], trajectory.observations),
        actions=trajectory.actions[steps],
        rewards=shown,
    )


def decompose_returns(trajectories: Sequence[Trajectory]) -> list[Array]:
    """
    Rewards of single steps that explain the returns of whole trajectories, each of shape ``(n_steps,)``.

    A network of the observation is fitted so that its sum over each trajectory is the return (return decomposition,
    arXiv 1806.07857, 2111.13485).

    :param trajectories: At least one trajectory; their observations are vectors, or dicts of vectors.
    :raises ValueError: when observations are images.
    """
    vectors = [_as_vectors(trajectory) for trajectory in trajectories]
    lengths = th.tensor([len(rows) for rows in vectors])
    starts = lengths.cumsum(0) - lengths
    rows = th.as_tensor(np.concatenate(vectors), dtype=th.float32)
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0).clamp(min=MIN_STD)
    returns = th.tensor([trajectory.total_return for trajectory in trajectories], dtype=th.float32)
    scale = returns.std(correction=0).clamp(min=MIN_STD)
    unit = scale / lengths.float().mean().sqrt()
    # Rewards may change within a step or two, which a network of the bare observation learns last
    waves = rows @ (WAVE_NUMBER * th.randn(rows.shape[1], N_WAVES))
    features = th.cat((rows, waves.sin(), waves.cos()), dim=1)
    net = nn.Sequential(*create_mlp(features.shape[1], 1, NET_ARCH))
    optimizer = th.optim.Adam(net.parameters(), LEARNING_RATE)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, GRADIENT_STEPS)
    for _ in range(GRADIENT_STEPS):
        drawn = th.randint(len(lengths), (BATCH_SIZE,))
        owner = th.arange(BATCH_SIZE).repeat_interleave(lengths[drawn])  # of each step of the batch
        offsets = starts[drawn] - (lengths[drawn].cumsum(0) - lengths[drawn])
        steps = th.arange(len(owner)) + offsets[owner]
        sums = th.zeros(BATCH_SIZE).index_add(0, owner, net(features[steps]).squeeze(-1) * unit)
        loss = ((sums - returns[drawn]) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with th.no_grad():
        rewards = net(features).squeeze(-1) * unit
    return [part.double().numpy() for part in rewards.split(lengths.tolist())]


def _as_vectors(trajectory: Trajectory) -> Array:
    arrays = []
    for name, array in observation_items(trajectory.observations):
        if array.ndim > 3:
            raise ValueError(f"{name} of shape {array.shape} are images: only trajectories of vectors can be completed")
        arrays.append(array.reshape(len(trajectory), -1))
    return np.concatenate(arrays, axis=1)
