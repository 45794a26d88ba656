"""Rewards of steps that explain the returns of trajectories."""

import numpy as np
import torch as th

from sb3_gac.credit.advantage import spread, varies
from sb3_gac.networks import RewardPredictor
from sb3_gac.type_aliases import Array, StepTable

N_TRAJECTORIES, N_STEPS = 32, 64  # of a batch


def fit_rewards(
    reward_net: RewardPredictor,
    optimizer: th.optim.Optimizer,
    features: th.Tensor,
    actions: th.Tensor,
    steps: StepTable,
    n_updates: int,
) -> tuple[Array, dict[str, float]]:
    """
    Fit rewards whose sum over each trajectory is its return, and return those of all steps, with the last loss by name.

    Randomised return decomposition (arXiv 2111.13485): the sum is estimated from 64 steps of a trajectory, one of each 64th of
    it. Independent steps would punish rewards that differ within a trajectory, by the variance of the estimate. A constant
    reward explains what it can first, the network the rest.

    :param reward_net: Rewards of steps; it learns.
    :param optimizer: Its optimizer.
    :param features: Features of the observations of all steps, of shape ``(n_steps, features_dim)``.
    :param actions: Their encoded actions, of shape ``(n_steps, encoded_dim)``.
    :param steps: The trajectories, with their returns.
    :param n_updates: Gradient steps.
    """
    inputs = th.cat((features, actions), dim=1)
    returns, lengths = steps.returns, steps.lengths
    mean = returns.sum() / lengths.sum()
    if not varies(returns - mean * lengths, returns):
        return np.full(len(inputs), mean), {"reward_model_loss": 0.0}
    unit = spread(returns - mean * lengths, returns) / lengths.mean()
    reward_net.set_statistics(float(mean), float(unit))
    wanted = th.as_tensor((returns - mean * lengths) / (unit * lengths.mean()), dtype=th.float32, device=inputs.device)
    shares = th.as_tensor(lengths / lengths.mean(), dtype=th.float32, device=inputs.device)
    counts = th.as_tensor(lengths, device=inputs.device)
    starts = counts.cumsum(0) - counts
    strata = th.arange(N_STEPS, device=inputs.device)
    loss = inputs.new_zeros(())
    for rows in th.randint(len(lengths), (n_updates, N_TRAJECTORIES), device=inputs.device):
        fractions = (strata + th.rand(N_TRAJECTORIES, N_STEPS, device=inputs.device)) / N_STEPS
        drawn = starts[rows, None] + (fractions * counts[rows, None]).long().clamp(max=counts[rows, None] - 1)
        means = reward_net(inputs[drawn.flatten()]).view(N_TRAJECTORIES, N_STEPS).mean(dim=1)
        sums = means * shares[rows]
        loss = (sums - wanted[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rewards: Array = reward_net.predict(inputs).cpu().numpy()
    return rewards, {"reward_model_loss": loss.item()}
