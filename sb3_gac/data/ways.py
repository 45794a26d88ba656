"""The best ways through recordings, any of which may be left for another where that passes by."""

from typing import NamedTuple

import numpy as np
import torch as th

from sb3_gac.data.trajectory import Array

TIME_UNIT = 10  # steps between two points where one recording may be left for another; of a joint, too: its gap wants closing
MAX_GAP = 0.05  # between the two sides of a joint, root mean square of the standardised observations
N_JOINTS = 16  # looked at for each point, the nearest first
MAX_DISTANCES = 2**24  # computed at a time


class Recordings(NamedTuple):
    """
    Trajectories one after the other, as far as ways through them are concerned.

    :param rows: Standardised observations of all steps, of shape ``(n_steps, n_entries)``.
    :param rewards: What each step is worth, of shape ``(n_steps,)``.
    :param ends: Where each ends, the step after its last, of shape ``(n_trajectories,)``.
    :param paces: What each step of staying where it ended is worth, of the same shape; 0 where it cannot be stayed.
    :param is_terminal: Whether it ended for good, of the same shape.
    """

    rows: th.Tensor
    rewards: Array
    ends: Array
    paces: Array
    is_terminal: Array


class Way(NamedTuple):
    """
    Steps of recordings, in the order in which they are to be taken.

    :param steps: Indices of them, of shape ``(n_steps,)``.
    :param reward: What they are worth, less what the joints cost.
    :param n_own: Steps before the recording that it began with is left.
    :param end: The recording at whose end it ends up, or None where there is no time to get to one.
    :param time_left: Steps that are left there.
    """

    steps: Array
    reward: float
    n_own: int
    end: int | None
    time_left: int


class Ways:
    """
    What to do best at each point of recordings, for any time left, by dynamic programming.

    The points are every tenth step of each recording from its first on, then the ends of all. At a step its recording is
    followed to the next point, at an end it is stayed, unless another recording is better that passes there. Time is
    weighed in units of ten steps: which of two ways is better may be wrong by what nine steps of staying are worth.

    :param recordings: What there is to follow.
    :param horizon: Steps of the longest way.
    :param time_costs: Whether steps may be worth less than nothing; joints then cost as much as the steps that they skip.
    """

    def __init__(self, recordings: Recordings, horizon: int, time_costs: bool) -> None:
        rows, rewards, self.ends, paces, is_terminal = recordings
        self.horizon = horizon
        lengths = np.diff(self.ends, prepend=0)
        starts = self.ends - lengths
        n_units = -(-lengths // TIME_UNIT)
        self.first = n_units.cumsum() - n_units  # point of each recording
        owners = np.arange(len(lengths)).repeat(n_units)  # of each point, but for the ends
        self.n_points = len(owners)  # but for the ends
        units = np.arange(self.n_points) - self.first[owners]
        self.steps = starts[owners] + units * TIME_UNIT
        self.n_shown = np.minimum(self.ends[owners] - self.steps, TIME_UNIT)
        is_last = units == n_units[owners] - 1
        self.following = np.where(is_last, self.n_points + owners, np.arange(self.n_points) + 1)
        self.earned = np.append(0.0, rewards.cumsum())  # up to each step
        gain = self.earned[self.steps + self.n_shown] - self.earned[self.steps]
        self.toll = time_costs * TIME_UNIT * np.minimum(np.append(gain / self.n_shown, paces), 0.0)  # of each joint

        self.joints, is_near = self._find_joints(rows)
        is_near[self.n_points :] &= ~is_terminal[:, None]
        spare = (TIME_UNIT - self.n_shown) * paces[owners]  # of a unit that is not full there is some time left to stay
        self.choices = self._choose(is_near, gain + spare, paces)

    def take(self, recording: int, unit: int = 0) -> Way:
        """
        The best way from one point of a recording on; the steps to the next point are its own.

        :param recording: Index of the recording.
        :param unit: Which of its points, the first being 0.
        """
        point, legs, reward, time, n_own = self.first[recording] + unit, [], 0.0, self.horizon, None
        while True:
            n_steps = min(self.n_shown[point], time)
            legs.append(self.steps[point] + np.arange(n_steps))
            reward += self.earned[self.steps[point] + n_steps] - self.earned[self.steps[point]]
            time -= n_steps
            is_cut = n_steps < self.n_shown[point]
            point = self.following[point]
            choice = self.choices[time // TIME_UNIT, point]
            if choice > 0:
                n_own = self.horizon - time if n_own is None else n_own
                reward += self.toll[point]
                time -= TIME_UNIT
                point = self.joints[point, choice - 1]
            elif is_cut or point >= self.n_points or time == 0:
                break
        steps = np.concatenate(legs)
        end = None if is_cut or point < self.n_points else int(point - self.n_points)
        return Way(steps, reward, len(steps) if n_own is None else n_own, end, int(time))

    def _find_joints(self, rows: th.Tensor) -> tuple[Array, Array]:
        """Points nearest to each point and end, and whether they are near, each ``(n_points + n_recordings, n_joints)``."""
        places = rows[th.as_tensor(np.append(self.steps, self.ends - 1))]
        points = places[: self.n_points]
        parts = places.split(max(MAX_DISTANCES // len(points), 1))
        nearest = [th.cdist(part, points).topk(min(N_JOINTS, len(points)), largest=False) for part in parts]
        gaps, joints = (th.cat(results).numpy() for results in zip(*nearest, strict=True))
        is_itself = self.steps[joints] == np.append(self.steps, self.ends - 1)[:, None]
        return joints, (gaps <= MAX_GAP * rows.shape[1] ** 0.5) & ~is_itself

    def _choose(self, is_open: Array, gain: Array, paces: Array) -> Array:
        """What is best for each unit of time left and each point: 0 to follow or stay, or one more than the joint to take."""
        value = np.zeros(len(is_open))
        choices = np.zeros((self.horizon // TIME_UNIT + 1, len(is_open)), dtype=np.int8)
        followed = np.full(self.n_points, -np.inf)  # with one unit less; there is no time to follow any
        for units in range(1, len(choices)):
            joined = np.where(is_open, followed[self.joints] + self.toll[:, None], -np.inf)
            followed = gain + value[self.following]
            kept = np.append(followed, units * TIME_UNIT * paces)
            options = np.column_stack((kept, joined))
            choices[units], value = options.argmax(axis=1), options.max(axis=1)
        return choices
