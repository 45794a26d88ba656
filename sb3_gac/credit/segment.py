"""Advantages of segments: what plans that span some steps are worth."""

import numpy as np
import torch as th

from sb3_gac.credit.advantage import lambda_returns
from sb3_gac.networks import SpreadPredictor
from sb3_gac.type_aliases import Array, StepTable

BATCH_SIZE = 512
MAX_SIZE = 4.0  # standard deviations; what is larger is cut


def segment_advantages(rewards: Array, values: Array, steps: StepTable, gamma: float, plan_horizon: int) -> Array:
    """
    What the next steps and the value after them exceed the value by, in env units, of shape ``(n_steps,)``.

    Segments start at every step, and end with their trajectories at the latest.

    :param rewards: Rewards of all steps, of shape ``(n_steps,)``.
    :param values: Values of their observations, of shape ``(n_steps,)``.
    :param steps: The trajectories.
    :param gamma: Discount.
    :param plan_horizon: Length of a segment, in steps.
    """
    returns = lambda_returns(rewards, values, steps, gamma, 1.0)  # of all steps that follow
    starts = np.arange(len(rewards))
    ends = np.repeat(np.cumsum(steps.lengths), steps.lengths)
    after = starts + plan_horizon
    is_inside = after < ends
    after = np.where(is_inside, after, starts)
    rest = np.where(is_inside, gamma**plan_horizon * (returns[after] - values[after]), 0.0)
    advantages: Array = returns - rest - values
    return advantages


def standardise_by_state(
    spread_net: SpreadPredictor, optimizer: th.optim.Optimizer, features: th.Tensor, advantages: Array, n_updates: int
) -> Array:
    """
    Advantages minus their mean, by their standard deviation, both of which are predicted from the observation.

    :param spread_net: It learns.
    :param optimizer: Its optimizer.
    :param features: Features of the observations, of shape ``(n_steps, features_dim)``.
    :param advantages: Of mean 0 and standard deviation 1 or so, of shape ``(n_steps,)``.
    :param n_updates: Gradient steps.
    """
    targets = th.as_tensor(advantages, dtype=th.float32, device=features.device)
    for _ in range(n_updates):
        rows = th.randint(len(targets), (BATCH_SIZE,), device=features.device)
        mean, log_std = spread_net(features[rows])
        loss = (0.5 * ((targets[rows] - mean) * (-log_std).exp()).square() + log_std).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with th.no_grad():
        mean, log_std = spread_net(features)
        standardised = ((targets - mean) * (-log_std).exp()).clamp(-MAX_SIZE, MAX_SIZE)
    result: Array = standardised.cpu().numpy()
    return result / max(float(np.std(result)), 1e-6)
