"""Rewards of steps that explain the returns of trajectories."""

import numpy as np
import torch as th

from sb3_gac.credit.advantage import spread
from sb3_gac.networks import ScalarPredictor
from sb3_gac.type_aliases import Array

N_TRAJECTORIES, N_STEPS = 32, 64  # of a batch


def fit_rewards(
    reward_net: ScalarPredictor,
    optimizer: th.optim.Optimizer,
    inputs: th.Tensor,
    lengths: Array,
    returns: Array,
    n_updates: int,
) -> tuple[Array, float]:
    """
    Fit rewards whose sum over each trajectory is its return, and return those of all steps with the last loss.

    Randomised return decomposition (arXiv 2111.13485): the sum is estimated from 64 steps of a trajectory. A constant reward
    explains what it can first, the network the rest.

    :param reward_net: Rewards of steps; it learns.
    :param optimizer: Its optimizer.
    :param inputs: Features and actions of all steps, one trajectory after the other, of shape ``(n_steps, in_dim)``.
    :param lengths: Numbers of steps, of shape ``(n_trajectories,)``.
    :param returns: Returns in env units, of shape ``(n_trajectories,)``.
    :param n_updates: Gradient steps.
    """
    mean = returns.sum() / lengths.sum()
    unit = spread(returns - mean * lengths) / lengths.mean()
    reward_net.set_statistics(float(mean), float(unit))
    wanted = th.as_tensor((returns - mean * lengths) / (unit * lengths.mean()), dtype=th.float32, device=inputs.device)
    shares = th.as_tensor(lengths / lengths.mean(), dtype=th.float32, device=inputs.device)
    counts = th.as_tensor(lengths, device=inputs.device)
    starts = counts.cumsum(0) - counts
    loss = inputs.new_zeros(())
    for rows in th.randint(len(lengths), (n_updates, N_TRAJECTORIES), device=inputs.device):
        steps = starts[rows, None] + (th.rand(N_TRAJECTORIES, N_STEPS, device=inputs.device) * counts[rows, None]).long()
        sums = reward_net(inputs[steps]).mean(dim=1) * shares[rows]
        loss = (sums - wanted[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return reward_net.predict(inputs).cpu().numpy(), loss.item()
