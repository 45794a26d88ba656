"""Advantages of steps, and what they make steps weigh."""

import numpy as np
import torch as th

from sb3_gac.networks import ScalarPredictor
from sb3_gac.type_aliases import Array, StepTable

BATCH_SIZE = 256
# Gradient steps for each set of targets: one epoch within these bounds
MIN_UPDATES, MAX_UPDATES = 60, 400
MAX_LOG_WEIGHT = 3.0
MIN_WEIGHT = 1e-4  # a batch of bad steps has weights, too
RELATIVE_MIN_STD = 1e-6  # what varies less is rounding


def lambda_returns(rewards: Array, values: Array, steps: StepTable, gamma: float, gae_lambda: float) -> Array:
    """
    λ-returns of all steps, of shape ``(n_steps,)``: values plus generalised advantages (arXiv 1506.02438).

    All trajectories are worked through at once, from their ends. A truncated one goes on as from its last observation: the
    one after it is not kept.

    :param rewards: Rewards of all steps, of shape ``(n_steps,)``.
    :param values: Values of their observations, of shape ``(n_steps,)``.
    :param steps: The trajectories.
    :param gamma: Discount.
    :param gae_lambda: Decay of the trace: 0 for one reward and the value after it, 1 for all rewards that follow.
    """
    ends = np.cumsum(steps.lengths) - 1
    following = np.append(values[1:], 0.0)
    following[ends] = np.where(steps.is_terminated, 0.0, values[ends])
    errors = rewards + gamma * following - values
    advantages = np.empty_like(errors)
    longest_first = np.argsort(-steps.lengths, kind="stable")
    rows, lengths = ends[longest_first], steps.lengths[longest_first]
    running = np.zeros(len(lengths))
    for n_left in np.searchsorted(-lengths, -np.arange(lengths[0]), side="left"):  # trajectories that are longer than this
        rows = rows[:n_left]
        running = errors[rows] + gamma * gae_lambda * running[:n_left]
        advantages[rows] = running
        rows = rows - 1
    returns: Array = values + advantages
    return returns


def start_value(rewards: Array, steps: StepTable, gamma: float) -> float:
    """
    Value of every observation before anything is known: the mean reward for as long as an episode can be expected to last.

    A constant added to all rewards of a task without end then shifts all values alike, and no advantage.

    :param rewards: Rewards of all steps, of shape ``(n_steps,)``.
    :param steps: The trajectories.
    :param gamma: Discount.
    """
    ends_per_step = steps.is_terminated.sum() / len(rewards)
    return float(rewards.mean() / max(1 - gamma * (1 - ends_per_step), 0.1 / steps.lengths.mean()))


def fit_advantages(
    value_net: ScalarPredictor,
    action_value_net: ScalarPredictor,
    optimizer: th.optim.Optimizer,
    features: th.Tensor,
    actions: th.Tensor,
    rewards: Array,
    steps: StepTable,
    gamma: float,
    gae_lambda: float,
    n_sweeps: int,
) -> tuple[Array, Array, dict[str, float]]:
    """
    Advantages Q(o, a) - V(o) and values V(o) of all steps, of shape ``(n_steps,)``, and the last losses by name.

    λ-returns are mostly the luck of later actions. Their regression on observation and action keeps what this action explains.

    :param value_net: V; it learns.
    :param action_value_net: Q; it learns.
    :param optimizer: Optimizer of both.
    :param features: Features of the observations of all steps, of shape ``(n_steps, features_dim)``.
    :param actions: Their encoded actions, of shape ``(n_steps, encoded_dim)``.
    :param rewards: Their rewards, of shape ``(n_steps,)``.
    :param steps: The trajectories.
    :param gamma: Discount.
    :param gae_lambda: Decay of the trace.
    :param n_sweeps: Sets of targets; each is learnt for an epoch or so.
    """
    pairs = th.cat((features, actions), dim=1)
    if value_net.is_new:
        for net in (value_net, action_value_net):
            net.set_statistics(start_value(rewards, steps, gamma), 1.0)
    n_updates = int(np.clip(len(rewards) // BATCH_SIZE, MIN_UPDATES, MAX_UPDATES))
    for _ in range(n_sweeps):
        targets = lambda_returns(rewards, value_net.predict(features).cpu().numpy(), steps, gamma, gae_lambda)
        for net in (value_net, action_value_net):
            net.set_statistics(float(targets.mean()), spread(targets))
        standardised = value_net.standardise(th.as_tensor(targets, device=features.device))
        for rows in th.randint(len(rewards), (n_updates, BATCH_SIZE), device=features.device):
            action_values = action_value_net(pairs[rows])
            action_value_loss = (action_values - standardised[rows]).square().mean()
            value_loss = (value_net(features[rows]) - action_values.detach()).square().mean()
            optimizer.zero_grad()
            (action_value_loss + value_loss).backward()
            optimizer.step()
    values: Array = value_net.predict(features).cpu().numpy()
    advantages: Array = action_value_net.predict(pairs).cpu().numpy() - values
    return advantages, values, {"value_loss": value_loss.item(), "action_value_loss": action_value_loss.item()}


def advantage_weights(advantages: Array, values: Array, temperature: float) -> Array:
    """
    What the likelihood of the actions of all steps weighs, one on average, of shape ``(n_steps,)``.

    exp(A / temperature) of the standardised advantage (arXiv 1910.00177), at most e³ times as much as an average one.

    :param advantages: Advantages of all steps, of shape ``(n_steps,)``.
    :param values: Values of their observations, of the same shape.
    :param temperature: Standard deviations of the advantage that make a step weigh e times as much.
    """
    standardised = (advantages - advantages.mean()) / spread(advantages, values)
    weights: Array = np.exp(np.minimum(standardised / temperature, MAX_LOG_WEIGHT))
    weights = np.maximum(weights / weights.mean(), MIN_WEIGHT)
    return weights


def spread(array: Array, size: Array | None = None) -> float:
    """
    Standard deviation to divide differences by; where they are but rounding, a number so large that they vanish.

    :param array: Numbers in double precision.
    :param size: What they are differences of; the numbers themselves by default.
    """
    magnitude = float(np.abs(array if size is None else size).max())
    std = float(array.std())
    return std if std > RELATIVE_MIN_STD * magnitude else magnitude or 1.0
