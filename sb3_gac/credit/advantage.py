"""Advantages of steps, and what they make steps weigh."""

import numpy as np
import torch as th

from sb3_gac.networks import ScalarPredictor
from sb3_gac.type_aliases import Array, StepTable

BATCH_SIZE = 512
# Gradient steps for each set of targets: one epoch within these bounds
MIN_UPDATES, MAX_UPDATES = 60, 400
SEGMENT_LENGTH = 20  # steps in a row of one member
MAX_LOG_WEIGHT = 3.0
MIN_WEIGHT = 1e-4  # a batch of bad steps has weights, too
MIN_AGREEMENT = 0.1  # correlation of members below which their advantages shrink
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
    advantage_net: ScalarPredictor,
    optimizer: th.optim.Optimizer,
    features: th.Tensor,
    actions: th.Tensor,
    rewards: Array,
    steps: StepTable,
    gamma: float,
    gae_lambda: float,
    n_sweeps: int,
) -> tuple[Array, dict[str, float]]:
    """
    Standardised advantages of all steps, of shape ``(n_steps,)``, and what to log.

    What a λ-return exceeds the value by is mostly the noise of later actions: its regression on observation and action keeps
    what this action explains. Members learn from different segments; advantages that they do not agree on at all are noise, too,
    and vanish.

    :param value_net: V(o); it learns.
    :param advantage_net: A(o, a), of as many members; it learns.
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
        value_net.set_statistics(start_value(rewards, steps, gamma), 1.0)
    shares = _shares(steps, value_net.n_members, features.device)
    n_updates = int(np.clip(len(rewards) // BATCH_SIZE, MIN_UPDATES, MAX_UPDATES))
    for _ in range(n_sweeps):
        values = value_net.predict(features).mean(dim=0).cpu().numpy()
        targets = lambda_returns(rewards, values, steps, gamma, gae_lambda)
        if not varies(targets, targets):  # nothing is learnt: what is learnt in so large a unit blows up in a smaller one
            return np.zeros(len(rewards)), {"value_loss": 0.0, "advantage_loss": 0.0, "advantage_agreement": 0.0}
        value_net.set_statistics(float(targets.mean()), spread(targets, targets))
        if varies(targets - values, targets) or advantage_net.is_new:
            advantage_net.set_statistics(0.0, spread(targets - values, targets))
        standardised = value_net.standardise(th.as_tensor(targets, device=features.device))
        unit = (value_net.std / advantage_net.std).float()
        for drawn in th.rand(n_updates, len(shares), BATCH_SIZE // len(shares), device=features.device):
            rows = th.stack([share[(u * len(share)).long()] for share, u in zip(shares, drawn, strict=True)])
            errors = standardised[rows] - value_net(features[rows])  # (n_members, batch_size)
            value_loss = errors.square().mean()
            advantage_loss = (unit * errors.detach() - advantage_net(pairs[rows])).square().mean()
            optimizer.zero_grad()
            (value_loss + advantage_loss).backward()
            optimizer.step()
    answers = advantage_net.predict(pairs).cpu().numpy()  # (n_members, n_steps)
    agreement = _correlation(answers)
    advantages = answers.mean(axis=0)
    trust = min(1.0, agreement / MIN_AGREEMENT)
    standardised_advantages: Array = trust * (advantages - advantages.mean()) / spread(advantages, targets)
    return standardised_advantages, {
        "value_loss": value_loss.item(),
        "advantage_loss": advantage_loss.item(),
        "advantage_agreement": agreement,
    }


def _shares(steps: StepTable, n_members: int, device: th.device) -> list[th.Tensor]:
    """
    Rows that each member learns from: segments in turn, so that all know of the one trajectory that succeeded.

    Noise of λ-returns is shared by few steps around a segment's ends only. All learn from all while one would have none.
    """
    first = np.cumsum(steps.lengths) - steps.lengths
    ages = np.arange(steps.lengths.sum()) - np.repeat(first, steps.lengths)
    owners = (np.repeat(steps.ids, steps.lengths) + ages // SEGMENT_LENGTH) % n_members
    shares = [np.flatnonzero(owners == member) for member in range(n_members)]
    if min(map(len, shares)) == 0:
        shares = [np.arange(len(owners))] * n_members
    return [th.as_tensor(share, device=device) for share in shares]


def _correlation(answers: Array) -> float:
    """Mean correlation of the members' answers, at least 0; 1 for a single member."""
    n_members = len(answers)
    if n_members == 1:
        return 1.0
    centred = answers - answers.mean(axis=1, keepdims=True)
    covariances = centred @ centred.T
    scale = np.sqrt(np.outer(np.diag(covariances), np.diag(covariances)))
    correlations = covariances / np.where(scale > 0, scale, 1.0)
    pairs = correlations[np.triu_indices(n_members, 1)]
    return max(float(pairs.mean()), 0.0)


def advantage_weights(advantages: Array, temperature: float) -> Array:
    """
    What the likelihood of the actions of all steps weighs, one on average, of shape ``(n_steps,)``.

    exp(A / temperature) (arXiv 1910.00177), at most e³ times as much as an average step.

    :param advantages: Standardised advantages of all steps, of shape ``(n_steps,)``.
    :param temperature: Standard deviations of the advantage that make a step weigh e times as much.
    """
    weights: Array = np.exp(np.minimum(advantages / temperature, MAX_LOG_WEIGHT))
    weights = np.maximum(weights / weights.mean(), MIN_WEIGHT)
    return weights


def spread(array: Array, size: Array) -> float:
    """
    Standard deviation to divide differences by; where they are but rounding, a number so large that they vanish.

    :param array: Numbers in double precision.
    :param size: What they are differences of.
    """
    return float(array.std()) if varies(array, size) else float(np.abs(size).max()) or 1.0


def varies(array: Array, size: Array) -> bool:
    """
    Whether numbers differ by more than rounding.

    :param array: Numbers in double precision.
    :param size: What they are differences of.
    """
    return bool(array.std() > RELATIVE_MIN_STD * np.abs(size).max())
