"""Advantages of segments: what plans that span some steps are worth."""

import numpy as np

from sb3_gac.credit.advantage import lambda_returns
from sb3_gac.type_aliases import Array, StepTable


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
