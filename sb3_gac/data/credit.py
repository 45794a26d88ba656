"""Which actions of trajectories were better than those to be expected."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_gac.data.decomposition import ReturnDecomposition
from sb3_gac.data.regression import fit
from sb3_gac.data.standardization import StandardizedObservations, standardize
from sb3_gac.data.trajectory import Array, Trajectory
from sb3_gac.random_state import fork_random_state

DISCOUNT, TRACE_DECAY = 0.995, 0.95
N_FITS = 2  # of the values: what comes after a truncated trajectory is known only from the first
GRADIENT_STEPS = 3000
BATCH_SIZE = 512  # steps
LEARNING_RATE = 1e-3
NET_ARCH = [128, 128]
MIN_STD = 1e-8
MAX_LEFT = 0.1  # of the size of returns that rewards may leave unexplained
MIN_WEIGHT = 1e-3  # of a step: a sample of bad ones has weights, too
WEIGHT_DECAY = 0.1  # of what actions explain: most of an outcome is luck


def step_weights(trajectories: Sequence[Trajectory], action_space: spaces.Space[Any], weighting: float) -> list[Array]:
    """
    What the steps of each trajectory count beside others: 2 / (1 + exp(-weighting * advantage)).

    A smooth form of the filter of critic regularised regression (arXiv 2006.15134), which leaves worse steps out. No step
    counts more than twice as much as one that did as expected: exponential weights made too few of them all that is learnt.

    :param trajectories: A data set whose observations are vectors, or dicts of vectors.
    :param action_space: Space of its actions.
    :param weighting: How sharply better steps are told from worse: with 100, one whose action gains a hundredth of what is to
        come counts 1.46. 0 counts all alike, without looking at them.
    :return: The weights of each trajectory, of shape ``(n_steps,)``, between 0 and 2.
    :raises ValueError: when observations are images, unless all count alike.
    """
    if weighting == 0:
        return [np.ones(len(trajectory)) for trajectory in trajectories]
    advantages = step_advantages(trajectories, action_space)
    weights = 1 + np.tanh(0.5 * weighting * advantages).clip(min=MIN_WEIGHT - 1)
    return np.split(weights, np.cumsum([len(trajectory) for trajectory in trajectories])[:-1])


def step_advantages(trajectories: Sequence[Trajectory], action_space: spaces.Space[Any]) -> Array:
    """
    How much better the action of each step is than those that the data takes on average from the same observation.

    The rewards of single steps are never looked at: :class:`~sb3_gac.data.decomposition.ReturnDecomposition` tells what they
    must have been, and where that leaves more than a tenth of the returns unexplained, the rest was paid at the end (as in
    arXiv 1806.07857): what is paid once, where a goal is reached, is not found by it. The outcome of a step is their
    generalised advantage (arXiv 1506.02438) with a discount of 0.995 and a trace decay of 0.95, over values fitted to the
    discounted sums of what followed, which start from what the mean reward is worth. Outcomes are mostly luck and what came
    later. Only what the action explains of them is kept: a linear function of how it differs from the one to be expected
    (compatible function approximation, Sutton et al., "Policy gradient methods for reinforcement learning with function
    approximation", 1999).

    Advantages are shares of one number for the whole data set, the root mean square of values and outcomes together (of values
    alone it would vanish where returns lie around zero), and are not brought to a standard deviation of one. Where a single
    policy made the data its actions differ by noise, and gain little each: to take all that is better at once would lead to
    where it has never been. Where many policies did, they gain much, and the states that this leads to have been seen.

    :param trajectories: A data set whose observations are vectors, or dicts of vectors.
    :param action_space: Space of its actions.
    :return: The advantages of all steps, in order, in shares, of shape
        ``(n_steps,)``; the same for the same data. They are next to zero where all returns or all actions are alike.
    :raises ValueError: when observations are images.
    """
    with fork_random_state(0):
        rows = StandardizedObservations(trajectories).rows
        outcomes = _outcomes(trajectories, rows)
        return _explained_by_actions(outcomes, rows, _action_rows(trajectories, action_space))


def _outcomes(trajectories: Sequence[Trajectory], rows: th.Tensor) -> Array:
    """How much better it went on after each step than it does on average from its observation, in shares."""
    rewards = ReturnDecomposition(trajectories, draws_steps=True).rewards
    ends = np.cumsum([len(trajectory) for trajectory in trajectories]) - 1
    starts = np.append(0, ends[:-1] + 1)
    returns = np.array([trajectory.total_return for trajectory in trajectories])
    left = returns - np.add.reduceat(rewards, starts)
    if np.square(left).mean() > MAX_LEFT**2 * np.square(returns).mean():
        rewards[ends] += left  # where it is little it is noise, on the steps that decide how long a good trajectory lasts
    is_terminal = np.array([trajectory.terminated for trajectory in trajectories])
    n_more = 1 / (1 - DISCOUNT * (1 - is_terminal.sum() / len(rows)))  # discounted steps to come, on average
    values = np.full(len(rows), rewards.mean() * n_more)  # zeros would make of every cut a loss
    for _ in range(N_FITS):
        after = np.where(is_terminal, 0.0, values[ends])
        values = _fit_values(rows, _discounted_sums(rewards, ends, after, DISCOUNT))
    following = np.append(values[1:], 0.0)
    following[ends] = np.where(is_terminal, 0.0, values[ends])
    surprises = rewards + DISCOUNT * following - values
    outcomes = _discounted_sums(surprises, ends, np.zeros(len(ends)), DISCOUNT * TRACE_DECAY)
    shares: Array = outcomes / max(np.sqrt(np.square(values).mean() + np.square(outcomes).mean()), MIN_STD)
    return shares


def _discounted_sums(terms: Array, ends: Array, after: Array, discount: float) -> Array:
    """Of the terms from each step to the end of its trajectory, and of what comes after that; all trajectories at once."""
    sums = np.zeros(len(terms))
    starts = np.append(0, ends[:-1] + 1)
    running, steps = after.copy(), ends.copy()
    going = np.arange(len(ends))
    while len(going):
        running[going] = terms[steps[going]] + discount * running[going]
        sums[steps[going]] = running[going]
        steps[going] -= 1
        going = going[steps[going] >= starts[going]]
    return sums


def _fit_values(rows: th.Tensor, targets: Array) -> Array:
    mean, scale = targets.mean(), max(targets.std(), MIN_STD)
    wanted = th.as_tensor((targets - mean) / scale, dtype=th.float32)
    net = nn.Sequential(*create_mlp(rows.shape[1], 1, NET_ARCH))

    def draw_loss() -> th.Tensor:
        drawn = th.randint(len(rows), (BATCH_SIZE,))
        errors: th.Tensor = net(rows[drawn]).squeeze(-1) - wanted[drawn]
        return errors.square().mean()

    fit(net, draw_loss, GRADIENT_STEPS, LEARNING_RATE)
    with th.no_grad():
        values: Array = net(rows).squeeze(-1).double().numpy() * scale + mean
    return values


def _explained_by_actions(outcomes: Array, rows: th.Tensor, actions: th.Tensor) -> Array:
    """
    Fit the expected action, the expected outcome and what it gains by each entry of the action; the last is kept.
    """
    scale = max(outcomes.std(), MIN_STD)
    wanted = th.as_tensor(outcomes / scale, dtype=th.float32)
    net = nn.Sequential(*create_mlp(rows.shape[1], 1 + 2 * actions.shape[1], NET_ARCH))
    differs = (actions != actions[0]).any(dim=0)  # else what is left of an entry is an error of the fit

    def predict(drawn: th.Tensor | slice) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        outcome, action, gains = net(rows[drawn]).split([1, actions.shape[1], actions.shape[1]], dim=1)
        deviations = (actions[drawn] - action) * differs
        return outcome.squeeze(-1), deviations, (gains * deviations.detach()).sum(dim=1)

    def draw_loss() -> th.Tensor:
        drawn = th.randint(len(rows), (BATCH_SIZE,))
        outcome, deviations, advantages = predict(drawn)
        loss: th.Tensor = (outcome + advantages - wanted[drawn]).square().mean() + deviations.square().mean()
        return loss

    fit(net, draw_loss, GRADIENT_STEPS, LEARNING_RATE, WEIGHT_DECAY)
    with th.no_grad():
        explained: Array = predict(slice(None))[2].double().numpy() * scale
    return explained


def _action_rows(trajectories: Sequence[Trajectory], space: spaces.Space[Any]) -> th.Tensor:
    """Standardised actions of all steps, one entry for each category of those that are whole numbers."""
    raw = th.as_tensor(np.concatenate([trajectory.actions.reshape(len(trajectory), -1) for trajectory in trajectories]))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        counts = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
        raw = th.cat([F.one_hot(raw[:, i].long(), n).float() for i, n in enumerate(counts)], dim=1)
    return standardize(raw.float())[0]
