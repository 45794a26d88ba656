"""One episode of experience, checked when it is made so that nobody downstream checks again."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Observations: TypeAlias = Array | dict[str, Array]

# Observations and rewards above have squares, which variances are made of, that float32 cannot hold
LARGEST = 1e18


def map_observations(function: Callable[[Array], Array], observations: Observations) -> Observations:
    """
    Apply a function to an array of observations, or to each array of a dict of them.

    :param function: What to do with one array.
    :param observations: An array, or a dict of arrays for Dict spaces.
    """
    if isinstance(observations, dict):
        return {key: function(value) for key, value in observations.items()}
    return function(observations)


def observation_items(observations: Observations) -> list[tuple[str, Array]]:
    """
    Arrays of observations beside the names that error messages give them.

    :param observations: An array, or a dict of arrays for Dict spaces.
    """
    if isinstance(observations, dict):
        return [(f"observations[{key!r}]", value) for key, value in observations.items()]
    return [("observations", observations)]


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """
    Say where bad data was met: prefix the message of every ValueError raised inside.

    :param where: Name of the data set, the file or the trajectory; nothing is added when it is empty.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


@dataclass(frozen=True, eq=False)
class Trajectory:
    """
    An episode from reset to end, or the segment of one that was cut, in env units.

    The observation that follows the last action is not part of it: it is never acted upon.

    :param observations: What the env returned before each action, of shape ``(n_steps, *obs_shape)``;
        a dict of such arrays for Dict spaces.
    :param actions: Actions in env units, of shape ``(n_steps, *action_shape)``.
    :param rewards: Rewards in env units, of shape ``(n_steps,)``.
    :param terminated: Whether the episode ended in a terminal state.
    :param truncated: Whether it was stopped from outside: time limit, reset, end of the recording.
    :raises ValueError: when it is empty, did not end, has fields of different lengths or shapes that make no sense,
        or holds anything but finite numbers that squares can be taken of in float32; the message names the field and the step.
    """

    observations: Observations
    actions: Array
    rewards: Array
    terminated: bool
    truncated: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "observations", map_observations(_read_only, self.observations))
        object.__setattr__(self, "actions", _read_only(self.actions))
        object.__setattr__(self, "rewards", _read_only(self.rewards))
        object.__setattr__(self, "terminated", bool(self.terminated))
        object.__setattr__(self, "truncated", bool(self.truncated))

        if self.rewards.ndim != 1:
            raise ValueError(f"rewards must have shape (n_steps,), not {self.rewards.shape}")
        if len(self) == 0:
            raise ValueError("a trajectory has at least one step")
        if isinstance(self.observations, dict) and not self.observations:
            raise ValueError("observations are an empty dict")
        for name, array in [*observation_items(self.observations), ("actions", self.actions), ("rewards", self.rewards)]:
            if array.shape[:1] != (len(self),):
                raise ValueError(f"{name} of shape {array.shape} beside {len(self)} rewards: one row per step is needed")
            # Actions are as large as the bounds of their space
            check_finite(name, array, np.inf if name == "actions" else LARGEST)
        if not (self.terminated or self.truncated):
            raise ValueError("neither terminated nor truncated: a trajectory that was cut counts as truncated")

    def __len__(self) -> int:
        return len(self.rewards)

    @cached_property
    def total_return(self) -> float:
        """Undiscounted sum of the rewards, exact to the last bit whatever their order."""
        return math.fsum(self.rewards.tolist())

    def return_only(self) -> "Trajectory":
        """
        The same trajectory as someone sees it who is told the return at the end and no reward before.
        """
        rewards = np.zeros(len(self), dtype=np.float64)
        rewards[-1] = self.total_return
        return replace(self, rewards=rewards)


def split_trajectories(
    observations: Observations, actions: Array, rewards: Array, terminated: Array, truncated: Array
) -> list[Trajectory]:
    """
    Cut a flat recording after each step where an episode ended.

    An unfinished last one is left out: nobody knows what it would have returned, and where rewards are costs a few steps
    would pass for the best trajectory of all.

    :param observations: Observations of all steps in order, of shape ``(n_steps, *obs_shape)``, or a dict of such arrays.
    :param actions: Actions in env units, of shape ``(n_steps, *action_shape)``.
    :param rewards: Rewards, of shape ``(n_steps,)``.
    :param terminated: Steps after which the env was in a terminal state, booleans of shape ``(n_steps,)``.
    :param truncated: Steps after which the episode was cut, booleans of shape ``(n_steps,)``.
    :return: The trajectories in order; they are views on the arrays.
    :raises ValueError: naming the trajectory, when one of them is not valid.
    """
    ends = np.flatnonzero(terminated | truncated) + 1
    trajectories = []
    starts = np.append(0, ends)[: len(ends)]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        steps = slice(int(start), int(end))
        with error_context(f"trajectory {index}"):
            trajectories.append(
                Trajectory(
                    observations=_take(observations, steps),
                    actions=actions[steps],
                    rewards=rewards[steps],
                    terminated=bool(terminated[end - 1]),
                    truncated=bool(truncated[end - 1]),
                )
            )
    return trajectories


def discontinuities(observations: Observations, next_observations: Observations) -> Array:
    """
    Steps whose next observation is not the observation of the following row: the env was reset in between.

    :param observations: Observations of all steps in order, of shape ``(n_steps, *obs_shape)``, or a dict of such arrays.
    :param next_observations: What each step led to, of the same shape.
    :return: Booleans of shape ``(n_steps,)``; nothing can be told of the last step, which is False.
    """
    pairs = zip(observation_items(observations), observation_items(next_observations), strict=True)
    jumps = [(array[1:] != following[:-1]).any(axis=tuple(range(1, array.ndim))) for (_, array), (_, following) in pairs]
    return np.append(np.any(jumps, axis=0), False)


def first_unusable(array: Array, limit: float = LARGEST) -> int | None:
    """
    The first row that holds anything but finite numbers that are not too large, or ``None``.

    :param array: One row per step, or per environment.
    :param limit: The largest absolute value that is usable.
    """
    if array.dtype.kind != "f" or array.size == 0:
        return None
    is_usable = np.abs(array) <= min(limit, np.finfo(array.dtype).max)  # no NaN is
    return None if is_usable.all() else int(np.argmin(is_usable.reshape(len(array), -1).all(axis=1)))


def check_finite(name: str, array: Array, limit: float = LARGEST) -> None:
    """
    Refuse what is no number, or too large a one.

    :param name: Name of the field, for the message.
    :param array: One row per step.
    :param limit: The largest absolute value that is not too large.
    :raises ValueError: naming the field and the step.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} have dtype {array.dtype}, numbers are needed")
    if (step := first_unusable(array, limit)) is not None:
        fault = f"larger than {limit:g}" if np.isfinite(array[step]).all() else "not finite"
        raise ValueError(f"{name} at step {step} are {fault}: {array[step]}")


def as_flags(name: str, array: Array) -> Array:
    """
    Booleans that may be written as other numbers.

    :param name: Name of the field, for the message.
    :param array: Zeros and ones, one per step.
    :raises ValueError: naming the field and the step, when there is anything else.
    """
    check_finite(name, array)
    if not (is_flag := (array == 0) | (array == 1)).all():
        step = int(np.argmin(is_flag))
        raise ValueError(f"{name} at step {step} are {array[step]}, expected 0 or 1")
    return array.astype(np.bool_)


def _take(observations: Observations, steps: slice) -> Observations:
    return map_observations(lambda array: array[steps], observations)


def _read_only(array: Array) -> Array:
    """A view that cannot be written through."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
