"""Advantages of steps, and what they make steps weigh."""

import numpy as np
import torch as th

from sb3_gac.networks import Credit, CreditNetwork
from sb3_gac.type_aliases import Array, StepTable

BATCH_SIZE = 512
# Gradient steps for each set of targets: one epoch within these bounds
MIN_UPDATES, MAX_UPDATES = 60, 400
SEGMENT_LENGTH = 20  # steps in a row of one member
MAX_LOG_WEIGHT = 3.0
MIN_WEIGHT = 1e-4  # a batch of bad steps has weights, too
SIGNIFICANT = 3.0  # standard errors; what is less significant weighs less
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
    credit_net: CreditNetwork,
    optimizer: th.optim.Optimizer,
    features: th.Tensor,
    actions: th.Tensor,
    rewards: Array,
    steps: StepTable,
    gamma: float,
    gae_lambda: float,
    temperature: float | None,
    n_sweeps: int,
) -> tuple[Array, Array, dict[str, float]]:
    """
    Standardised advantages of all steps and the values of their observations, of shape ``(n_steps,)``, and what to log.

    V is the value of the policy that the weighted evidence teaches, not of those that have acted: its regression weighs
    steps alike. λ-returns of it exceed their own mean mostly by the noise of later actions: the regression of this excess
    on observation and action is the advantage, what the action explains. Members learn from different segments: as long as
    what one has learnt does not explain significantly what it has not seen, advantages shrink.

    :param credit_net: It learns.
    :param optimizer: Its optimizer.
    :param features: Features of the observations of all steps, of shape ``(n_steps, features_dim)``.
    :param actions: Their encoded actions, of shape ``(n_steps, encoded_dim)``.
    :param rewards: Their rewards, of shape ``(n_steps,)``.
    :param steps: The trajectories.
    :param gamma: Discount.
    :param gae_lambda: Decay of the trace.
    :param temperature: That of :func:`advantage_weights`.
    :param n_sweeps: Sets of targets; each is learnt for an epoch or so.
    """
    pairs = th.cat((features, actions), dim=1)
    if credit_net.is_new:
        credit_net.set_statistics(Credit.VALUE, start_value(rewards, steps, gamma), 1.0)

    def predict(credit: Credit) -> Array:
        predictions: Array = credit_net.predict(credit, pairs).cpu().numpy()  # (n_members, n_steps)
        return predictions

    shares = _shares(steps, credit_net.n_members, features.device)
    n_updates = int(np.clip(len(rewards) // BATCH_SIZE, MIN_UPDATES, MAX_UPDATES))
    for _ in range(n_sweeps):
        advantages = predict(Credit.ADVANTAGE).mean(axis=0)
        weights = advantage_weights((advantages - advantages.mean()) / spread(advantages, advantages), temperature)
        step_weights = th.as_tensor(weights, dtype=th.float32, device=features.device)
        values = predict(Credit.VALUE).mean(axis=0)
        targets = lambda_returns(rewards, values, steps, gamma, gae_lambda)
        if not varies(targets, targets):  # nothing is learnt: what is learnt in so large a unit blows up in a smaller one
            return np.zeros(len(rewards)), values, {"value_loss": 0.0, "advantage_loss": 0.0, "advantage_significance": 0.0}
        mean, std = float(targets.mean()), spread(targets, targets)
        credit_net.set_statistics(Credit.VALUE, mean, std)
        credit_net.set_statistics(Credit.BASELINE, mean, std)
        if varies(targets - values, targets) or credit_net.std[Credit.ADVANTAGE] == 0:
            credit_net.set_statistics(Credit.ADVANTAGE, 0.0, spread(targets - values, targets))
        unit = std / credit_net.std[Credit.ADVANTAGE].item()
        standardised = th.as_tensor((targets - mean) / std, dtype=th.float32, device=features.device)
        for drawn in th.rand(n_updates, len(shares), BATCH_SIZE // len(shares), device=features.device):
            rows = th.stack([share[(u * len(share)).long()] for share, u in zip(shares, drawn, strict=True)])
            value, baseline, advantage = credit_net(pairs[rows])  # each of shape (n_members, batch_size)
            value_loss = (step_weights[rows] * (standardised[rows] - value).square()).mean()
            excess = standardised[rows] - baseline
            advantage_loss = (unit * excess.detach() - advantage).square().mean()
            optimizer.zero_grad()
            (value_loss + excess.square().mean() + advantage_loss).backward()
            optimizer.step()
    answers = predict(Credit.ADVANTAGE)
    n_alike = min(steps.lengths.mean(), 1 / max(1 - gamma * gae_lambda, 1e-6))  # steps whose λ-returns share their noise
    significance = _significance(answers, targets - predict(Credit.BASELINE), shares, n_alike)
    advantages = answers.mean(axis=0)
    advantages = min(1.0, (significance / SIGNIFICANT) ** 2) * (advantages - advantages.mean()) / spread(advantages, targets)
    losses = {"value_loss": value_loss.item(), "advantage_loss": advantage_loss.item(), "advantage_significance": significance}
    return advantages, predict(Credit.VALUE).mean(axis=0), losses


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


def _significance(answers: Array, excess: Array, shares: list[th.Tensor], n_alike: float) -> float:
    """
    Standard errors by which members' advantages correlate with what they have not learnt from, at least 0.

    :param answers: Advantages of all steps by each member, of shape ``(n_members, n_steps)``.
    :param excess: What they were to explain, of the same shape.
    :param shares: Rows that each member has learnt from.
    :param n_alike: Steps in a row whose λ-returns share their noise.
    """
    correlations = []
    for answer, noisy, share in zip(answers, excess, shares, strict=True):
        unseen = np.ones(len(answer), dtype=bool)
        unseen[share.cpu().numpy()] = False
        parts = answer[unseen], noisy[unseen]
        if unseen.any() and all(varies(part, part) for part in parts):
            correlations.append(np.corrcoef(*parts)[0, 1])
    if not correlations:
        return 0.0
    return float(max(np.mean(correlations), 0.0) * np.sqrt(answers.shape[1] / n_alike))


def advantage_weights(advantages: Array, temperature: float | None) -> Array:
    """
    What the likelihood of the actions of all steps weighs, one on average, of shape ``(n_steps,)``.

    exp(A / temperature) (arXiv 1910.00177), at most e³ times as much as an average step.

    :param advantages: Standardised advantages of all steps, of shape ``(n_steps,)``.
    :param temperature: Standard deviations of the advantage that make a step weigh e times as much; ``None``: all
        weigh alike.
    """
    if temperature is None:
        return np.ones(len(advantages))
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
