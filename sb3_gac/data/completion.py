"""What trajectories that were cut before the horizon would have gone on to do and to return."""

from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_gac.data.decomposition import decompose_returns
from sb3_gac.data.holding import Holding
from sb3_gac.data.standardization import StandardizedObservations
from sb3_gac.data.trajectory import Array, Observations, Trajectory, map_observations
from sb3_gac.random_state import fork_random_state

MIN_REST = 10  # steps of the shortest rest of a trajectory
JOINT_STEPS = 10  # that going on along another trajectory takes: the gap between the two wants closing
MAX_GAP = 0.05  # between the ends of a joint, root mean square of the standardised observations
N_JOINTS = 64  # looked at for each trajectory, the nearest first
TIME_UNIT = 10  # steps of the environment for one of the dynamic programming
MAX_DISTANCES = 2**24  # computed at a time


def complete_trajectories(trajectories: Sequence[Trajectory], horizon: int, n_hold_steps: int = 20) -> list[Trajectory]:
    """
    Let trajectories that were truncated before the horizon go on to it, as they ended and as well as the data knows how.

    A recording that is cut where its aim is reached says little of what reaching it is worth to an episode that goes
    on: to pass by may even return more. And what is worth reaching may be far from where most recordings start. Each
    such trajectory is therefore told three times: with the return of staying where it ended up to the horizon; going on
    with the best there is, which is to stay or to follow the rest of another trajectory that passes where it ended, and
    so on; and that again from a random step of it on, so that plans can start from any state of the data. What
    terminated, or lasted the horizon, keeps its return. The rewards of single steps are never looked at:
    :func:`~sb3_gac.data.decomposition.decompose_returns` tells what they must have been.

    What is cut on arrival does not show how to stop, either. What goes on and stays in the end is followed by simulated
    steps of staying there (:class:`~sb3_gac.data.holding.Holding`), with pushes that it withstands, where the data knows how.

    :param trajectories: A data set whose observations are vectors, or dicts of vectors.
    :param horizon: Steps of an episode in the environment.
    :param n_hold_steps: Steps of staying that are shown, no more than are left to the horizon; 0 for none.
    :return: The completed trajectories in the order of the given ones, with their return at their last step; the same for
        the same data.
    :raises ValueError: when the horizon is not positive, the number of steps is negative, or observations are images.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be a positive number of steps, got {horizon}")
    if n_hold_steps < 0:
        raise ValueError(f"n_hold_steps must not be negative, got {n_hold_steps}")
    with fork_random_state(0):
        continuations = _Continuations(trajectories, horizon, n_hold_steps)
        completed = []
        for index, trajectory in enumerate(trajectories):
            completed.append(continuations.stay(index))
            if not trajectory.terminated and len(trajectory) < horizon:
                completed.append(continuations.go_on(index))
            if len(trajectory) > MIN_REST + 1:
                completed.append(continuations.go_on(index, np.random.randint(1, len(trajectory) - MIN_REST)))
    return completed


class _Continuations:
    """
    What to do best at the end of each trajectory, for any time left: staying there, or a joint with some step of the data.

    :param trajectories: See :func:`complete_trajectories`.
    :param horizon: See :func:`complete_trajectories`.
    :param n_hold_steps: See :func:`complete_trajectories`.
    """

    def __init__(self, trajectories: Sequence[Trajectory], horizon: int, n_hold_steps: int):
        self.horizon = horizon
        self.n_hold_steps = n_hold_steps
        self.trajectories = trajectories
        self.standardized = StandardizedObservations(trajectories)
        self.observations = _concatenate([trajectory.observations for trajectory in trajectories])
        self.actions = np.concatenate([trajectory.actions for trajectory in trajectories])
        lengths = np.array([len(trajectory) for trajectory in trajectories])
        self.ends = lengths.cumsum()
        self.starts = self.ends - lengths
        self.owners = np.arange(len(trajectories)).repeat(lengths)  # of each step
        rewards = decompose_returns(trajectories)
        earned = rewards.cumsum() - rewards
        returns = np.array([trajectory.total_return for trajectory in trajectories])
        self.to_go = (returns + earned[self.starts])[self.owners] - earned  # from each step to the end of its trajectory
        self.n_left = self.ends[self.owners] - np.arange(len(self.owners))  # steps, this one included
        self.is_terminal = np.array([trajectory.terminated for trajectory in trajectories])
        self.pace = np.where(self.is_terminal, 0.0, rewards[self.ends - 1])  # of staying at the end
        # Of each step of a joint, where time costs; elsewhere a pace below zero is an error of the decomposition
        self.toll = np.minimum(self.pace, 0.0) if returns.sum() < 0 else np.zeros(len(trajectories))
        self.joints, is_near = self._find_joints()
        self.choices = self._choose(is_near & ~self.is_terminal[:, None])
        # Between two whole numbers there is nothing to simulate
        is_held = n_hold_steps > 0 and self.standardized.is_continuous and self.actions.dtype.kind == "f"
        self.holding = Holding(self.standardized.rows.numpy(), self.actions, self.n_left > 1) if is_held else None

    def stay(self, index: int) -> Trajectory:
        """The trajectory with the return of staying where it ended up to the horizon, if it was cut before."""
        n_missing = max(self.horizon - len(self.trajectories[index]), 0)
        steps = np.arange(self.starts[index], self.ends[index])
        return self._trajectory(steps, self.to_go[self.starts[index]] + n_missing * self.pace[index])

    def go_on(self, index: int, start: int = 0) -> Trajectory:
        """The trajectory from one of its steps on, and the best that is known to follow it."""
        step = self.starts[index] + start
        legs, total, time = [], 0.0, self.horizon
        while True:
            legs.append(np.arange(step, self.ends[index]))
            total += self.to_go[step]
            time = max(time - len(legs[-1]), 0)
            choice = self.choices[time // TIME_UNIT, index]
            if choice == 0:
                n_held = 0 if self.is_terminal[index] else min(self.n_hold_steps, time)
                return self._trajectory(np.concatenate(legs), total + time * self.pace[index], n_held)
            total += JOINT_STEPS * self.toll[index]
            time -= JOINT_STEPS
            step = self.joints[index, choice - 1]
            index = self.owners[step]

    def _find_joints(self) -> tuple[Array, Array]:
        """Steps nearest to the end of each trajectory and whether they are near, each ``(n_trajectories, n_joints)``."""
        rows = self.standardized.rows
        ends = th.as_tensor(self.ends - 1).split(max(MAX_DISTANCES // len(rows), 1))
        nearest = [th.cdist(rows[some], rows).topk(min(N_JOINTS, len(rows)), largest=False) for some in ends]
        gaps, steps = (th.cat(parts).numpy() for parts in zip(*nearest, strict=True))
        return steps, gaps <= MAX_GAP * rows.shape[1] ** 0.5

    def _choose(self, is_open: Array) -> Array:
        """What is best for each unit of time left and each trajectory: 0 to stay, or one more than the joint to take."""
        n_units = self.horizon // TIME_UNIT + 1
        value = np.zeros((n_units, len(self.trajectories)))
        choices = np.zeros(value.shape, dtype=np.int64)
        n_shown = self.n_left[self.joints]
        cost = -(-(n_shown + JOINT_STEPS) // TIME_UNIT)
        earned = self.to_go[self.joints] + (cost * TIME_UNIT - n_shown) * self.toll[:, None]
        following = self.owners[self.joints]
        for units in range(1, n_units):
            left = units - cost
            gone_on = earned + value[np.maximum(left, 0), following]
            gone_on[(left < 0) | ~is_open] = -np.inf
            options = np.column_stack((units * TIME_UNIT * self.pace, gone_on))
            choices[units], value[units] = options.argmax(axis=1), options.max(axis=1)
        return choices

    def _trajectory(self, steps: Array, total: float, n_held: int = 0) -> Trajectory:
        observations, actions = map_observations(lambda array: array[steps], self.observations), self.actions[steps]
        if self.holding is not None and n_held > 0:
            held, holding_actions = self.holding.stay(int(steps[-1]), n_held)
            observations = _concatenate((observations, self.standardized.restore(held)))
            actions = np.concatenate((actions, holding_actions))
        rewards = np.zeros(len(actions))
        rewards[-1] = total
        is_terminal = bool(self.is_terminal[self.owners[steps[-1]]])
        return Trajectory(observations, actions, rewards, terminated=is_terminal, truncated=not is_terminal)


def _concatenate(parts: Sequence[Observations]) -> Observations:
    first = parts[0]
    if isinstance(first, dict):
        return {key: np.concatenate([part[key] for part in parts if isinstance(part, dict)]) for key in first}
    return np.concatenate([part for part in parts if not isinstance(part, dict)])
