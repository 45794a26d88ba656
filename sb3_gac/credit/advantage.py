"""Advantages of steps, and what they make steps weigh."""

import numpy as np
import torch as th

from sb3_gac.networks import ScalarPredictor
from sb3_gac.type_aliases import Array

BATCH_SIZE = 256
# Gradient steps for each set of targets: one epoch within these bounds
MIN_UPDATES, MAX_UPDATES = 60, 400
MAX_LOG_WEIGHT = 3.0
MIN_WEIGHT = 1e-4  # a batch of bad steps has weights, too
RELATIVE_MIN_STD = 1e-6  # what varies less is rounding


def generalized_advantages(
    rewards: Array, values: Array, lengths: Array, is_terminated: Array, gamma: float, gae_lambda: float
) -> Array:
    """
    Generalised advantages (arXiv 1506.02438) of all steps, of shape ``(n_steps,)``; all trajectories at once.

    A trajectory that was cut goes on as from its last observation: the one after it is not kept.

    :param rewards: Rewards of all steps, one trajectory after the other, of shape ``(n_steps,)``.
    :param values: Values of their observations, of shape ``(n_steps,)``.
    :param lengths: Numbers of steps, of shape ``(n_trajectories,)``.
    :param is_terminated: Whether nothing follows the last step, of shape ``(n_trajectories,)``.
    :param gamma: Discount.
    :param gae_lambda: Decay of the trace: 0 for one-step errors, 1 for all that follows.
    """
    ends = np.cumsum(lengths) - 1
    following = np.append(values[1:], 0.0)
    following[ends] = np.where(is_terminated, 0.0, values[ends])
    errors = rewards + gamma * following - values
    advantages = np.empty_like(errors)
    longest_first = np.argsort(-lengths, kind="stable")
    steps, lengths = ends[longest_first], lengths[longest_first]
    running = np.zeros(len(lengths))
    for n_left in np.searchsorted(-lengths, -np.arange(lengths[0]), side="left"):  # trajectories with more steps than these
        steps, running = steps[:n_left], errors[steps[:n_left]] + gamma * gae_lambda * running[:n_left]
        advantages[steps] = running
        steps = steps - 1
    return advantages


def fit_values(
    value_net: ScalarPredictor,
    optimizer: th.optim.Optimizer,
    features: th.Tensor,
    rewards: Array,
    lengths: Array,
    is_terminated: Array,
    gamma: float,
    gae_lambda: float,
    n_sweeps: int,
) -> tuple[Array, float]:
    """
    Fit values to λ-returns, made anew in every sweep, and return the advantages over them with the last loss.

    :param value_net: Values of observations; it learns.
    :param optimizer: Its optimizer.
    :param features: Features of the observations of all steps, of shape ``(n_steps, features_dim)``.
    :param rewards: See :func:`generalized_advantages`, as for the arguments that follow.
    :param lengths: Numbers of steps.
    :param is_terminated: Whether nothing follows the last step.
    :param gamma: Discount.
    :param gae_lambda: Decay of the trace.
    :param n_sweeps: Sets of targets.
    """
    n_updates = int(np.clip(len(rewards) // BATCH_SIZE, MIN_UPDATES, MAX_UPDATES))
    loss = features.new_zeros(())
    for _ in range(n_sweeps):
        values = value_net.predict(features).cpu().numpy()
        targets = values + generalized_advantages(rewards, values, lengths, is_terminated, gamma, gae_lambda)
        value_net.set_statistics(float(targets.mean()), spread(targets))
        wanted = value_net.standardise(th.as_tensor(targets, device=features.device))
        for rows in th.randint(len(rewards), (n_updates, BATCH_SIZE), device=features.device):
            loss = (value_net(features[rows]) - wanted[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    values = value_net.predict(features).cpu().numpy()
    return generalized_advantages(rewards, values, lengths, is_terminated, gamma, gae_lambda), loss.item()


def start_value(rewards: Array, lengths: Array, is_terminated: Array, gamma: float) -> float:
    """
    Value of every observation where nothing else is known: the mean reward for as long as an episode can be expected to go on.

    So a constant added to all rewards of a task without end shifts all values, and no advantage.

    :param rewards: See :func:`generalized_advantages`, as for the arguments that follow.
    :param lengths: Numbers of steps.
    :param is_terminated: Whether nothing follows the last step.
    :param gamma: Discount.
    """
    ends_per_step = is_terminated.sum() / len(rewards)
    return float(rewards.mean() / max(1 - gamma * (1 - ends_per_step), 0.1 / lengths.mean()))


def advantage_weights(advantages: Array, temperature: float | None) -> Array:
    """
    What the likelihood of the actions of all steps weighs, one on average, of shape ``(n_steps,)``.

    exp(A / temperature) of the standardised advantage (arXiv 1910.00177), at most e³ times as much as an average one.

    :param advantages: Advantages of all steps, of shape ``(n_steps,)``.
    :param temperature: Standard deviations of the advantage that make a step weigh e times as much; ``None``: all weigh alike.
    """
    if temperature is None:
        return np.ones(len(advantages))
    standardised = (advantages - advantages.mean()) / spread(advantages)
    weights = np.exp(np.minimum(standardised / temperature, MAX_LOG_WEIGHT))
    return np.maximum(weights / weights.mean(), MIN_WEIGHT)


def spread(array: Array) -> float:
    """
    Standard deviation, or of numbers that differ by rounding alone what makes their differences vanish.

    :param array: Numbers in double precision.
    """
    std = float(array.std())
    smallest = RELATIVE_MIN_STD * float(np.abs(array).max())
    return std if std > smallest else max(smallest, 1.0e-300) / RELATIVE_MIN_STD
