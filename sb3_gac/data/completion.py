"""What trajectories that were cut before the horizon would have gone on to do and to return."""

from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_gac.data.decomposition import ReturnDecomposition
from sb3_gac.data.holding import Holding
from sb3_gac.data.standardization import StandardizedObservations
from sb3_gac.data.trajectory import Array, Observations, Trajectory, map_observations
from sb3_gac.data.ways import MAX_DISTANCES, MAX_GAP, TIME_UNIT, Recordings, Ways
from sb3_gac.random_state import fork_random_state

MIN_REST = 10  # steps of the shortest rest of a trajectory
MIN_COST = 0.05  # of the largest return, whatever its sign: what the lowest must lie below zero for steps to cost anything


def complete_trajectories(trajectories: Sequence[Trajectory], horizon: int, n_hold_steps: int = 20) -> list[Trajectory]:
    """
    Let trajectories that were truncated before the horizon go on to it, as they ended and as well as the data knows how.

    A recording that is cut where its aim is reached says little of what reaching it is worth to an episode that goes
    on: to pass by may even return more. And what is worth reaching may be far from where most recordings start. Each
    such trajectory is therefore told three times: with the return of staying, up to the horizon, at the place to rest that is
    nearest to where it ended; doing the best there is from its start, which is to follow it, or another trajectory from where
    that passes on, and so on, and to stay at the end of one; and that again from one of its later points on, every tenth
    step, so that plans can start from any state of the data. What terminated, or lasted the horizon, is told as it was, and
    from one of its later points on. The rewards of single steps are never looked at:
    :class:`~sb3_gac.data.decomposition.ReturnDecomposition` tells what they must have been, and what to stay is worth.

    What is cut on arrival does not show how to stop, either. What goes on and stays in the end is followed by simulated
    steps of staying there (:class:`~sb3_gac.data.holding.Holding`), with pushes that it withstands, where the data knows how.

    :param trajectories: A data set whose observations are vectors, or dicts of vectors.
    :param horizon: Steps of an episode in the environment.
    :param n_hold_steps: Steps of staying that are shown, no more than are left to the horizon; 0 for none. To stay is worth
        what it returns at rest all the same.
    :return: The completed trajectories in the order of the given ones, with their return at their last step; the same for
        the same data. Trajectories of less than twenty steps are not told from a later point on.
    :raises ValueError: when there is no trajectory, the horizon is not positive, the number of steps is negative, or
        observations are images.
    """
    if not trajectories:
        raise ValueError("there is no trajectory to complete")
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
            n_points = (len(trajectory) - MIN_REST) // TIME_UNIT
            if n_points > 0:
                completed.append(continuations.go_on(index, np.random.randint(n_points) + 1))
    return completed


class _Continuations:
    """
    What each trajectory is told to have gone on to do.

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
        self.is_terminal = np.array([trajectory.terminated for trajectory in trajectories])
        # Between two whole numbers there is nothing to simulate
        is_held = self.standardized.is_continuous and self.actions.dtype.kind == "f"
        is_followed = np.ones(len(self.actions), dtype=bool)
        is_followed[self.ends - 1] = False
        self.holding = Holding(self.standardized.rows.numpy(), self.actions, is_followed) if is_held else None

        decomposition = ReturnDecomposition(trajectories)
        returns = np.array([trajectory.total_return for trajectory in trajectories])
        # What a return has more than its rewards is luck: told of its own steps alone, for a way would look for it
        self.luck = (returns - np.add.reduceat(decomposition.rewards, self.ends - lengths)) / lengths  # of each step
        self.paces = self._paces(decomposition)  # of staying at the end
        # Where no step costs, a pace below zero is an error of the decomposition, and no reason to lose time
        time_costs = returns.min() < -MIN_COST * np.abs(returns).max()
        if not time_costs:
            self.paces = self.paces.clip(min=0.0)
        recordings = Recordings(self.standardized.rows, decomposition.rewards, self.ends, self.paces, self.is_terminal)
        self.ways = Ways(recordings, horizon, time_costs)

    def stay(self, index: int) -> Trajectory:
        """The trajectory with the return of staying where it ended up to the horizon, if it was cut before."""
        trajectory = self.trajectories[index]
        n_missing = max(self.horizon - len(trajectory), 0)
        steps = np.arange(self.ends[index] - len(trajectory), self.ends[index])
        return self._trajectory(steps, trajectory.total_return + n_missing * self.paces[index], trajectory.terminated)

    def go_on(self, index: int, unit: int = 0) -> Trajectory:
        """The best that is known to do from one of its points on."""
        way = self.ways.take(index, unit)
        total = way.reward + way.n_own * self.luck[index]
        if way.end is None:
            return self._trajectory(way.steps, total, is_terminal=False)
        is_terminal = bool(self.is_terminal[way.end])
        n_held = 0 if is_terminal else min(self.n_hold_steps, way.time_left)
        return self._trajectory(way.steps, total + way.time_left * self.paces[way.end], is_terminal, n_held)

    def _paces(self, decomposition: ReturnDecomposition) -> Array:
        """
        What each step of staying where a trajectory would come to rest returns, of shape ``(n_trajectories,)``.

        Rests that are near each other return alike: small errors would make one of them the end of all ways.
        """
        rests = self.standardized.rows[th.as_tensor(self.ends - 1)]
        lasting = np.flatnonzero(~self.is_terminal)
        if self.holding is not None:
            for index in lasting:
                rests[index] = th.as_tensor(self.holding.rest(int(self.ends[index] - 1)))
        rests, paces = rests[lasting], np.zeros(len(self.ends))
        rewards = th.as_tensor(decomposition.reward(rests))
        parts = rests.split(max(MAX_DISTANCES // max(len(rests), 1), 1))
        are_near = ((th.cdist(part, rests) <= MAX_GAP * rests.shape[1] ** 0.5).double() for part in parts)
        paces[lasting] = th.cat([near @ rewards / near.sum(dim=1) for near in are_near]).numpy()
        return paces

    def _trajectory(self, steps: Array, total: float, is_terminal: bool, n_held: int = 0) -> Trajectory:
        observations, actions = map_observations(lambda array: array[steps], self.observations), self.actions[steps]
        if self.holding is not None and n_held > 0:
            held, holding_actions = self.holding.stay(int(steps[-1]), n_held)
            observations = _concatenate((observations, self.standardized.restore(held)))
            actions = np.concatenate((actions, holding_actions))
        rewards = np.zeros(len(actions))
        rewards[-1] = total
        return Trajectory(observations, actions, rewards, terminated=is_terminal, truncated=not is_terminal)


def _concatenate(parts: Sequence[Observations]) -> Observations:
    first = parts[0]
    if isinstance(first, dict):
        return {key: np.concatenate([part[key] for part in parts if isinstance(part, dict)]) for key in first}
    return np.concatenate([part for part in parts if not isinstance(part, dict)])
