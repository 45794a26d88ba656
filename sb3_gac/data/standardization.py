"""Observations and actions of a data set as rows of numbers of about unit spread, and observations back."""

import math
from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_gac.data.trajectory import Array, Observations, Trajectory, observation_items

MIN_STD = 1e-8


class StandardizedObservations:
    """
    Observations of all steps of a data set, in order, with zero mean and unit standard deviation.

    :param trajectories: At least one trajectory; their observations are vectors, or dicts of vectors.
    :raises ValueError: when observations are images.
    """

    rows: th.Tensor  # (n_steps, n_entries); a dict's vectors follow each other in the order of its keys

    def __init__(self, trajectories: Sequence[Trajectory]) -> None:
        check_vectors(trajectories)
        parts = [_vectors(trajectory.observations) for trajectory in trajectories]
        self._is_dict = isinstance(trajectories[0].observations, dict)
        self._shapes = {key: array.shape[1:] for key, array in parts[0].items()}
        self._dtypes = {key: np.result_type(*{part[key].dtype for part in parts}) for key in self._shapes}
        flat = np.concatenate([_flatten(part) for part in parts])
        self.rows, self._mean, self._std = standardize(th.as_tensor(flat, dtype=th.float32))

    @property
    def is_continuous(self) -> bool:
        """Whether all observations are floats, so that what lies between two of them is one, too."""
        return all(dtype.kind == "f" for dtype in self._dtypes.values())

    def restore(self, rows: Array) -> Observations:
        """
        Observations of which these are the rows, where observations are floats.

        :param rows: Standardised observations, of shape ``(n_steps, n_entries)``.
        """
        raw = rows * self._std.numpy() + self._mean.numpy()
        ends = np.cumsum([math.prod(shape) for shape in self._shapes.values()])
        parts = zip(self._shapes.items(), np.split(raw, ends[:-1], axis=1), strict=True)
        restored = {key: part.reshape(len(raw), *shape).astype(self._dtypes[key]) for (key, shape), part in parts}
        return restored if self._is_dict else restored[""]


def standardize(raw: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """
    Rows of zero mean and unit standard deviation, and the means and standard deviations that they had.

    :param raw: Numbers of shape ``(n_rows, n_entries)``; entries that never change become zeros.
    """
    is_constant = (raw == raw[0]).all(dim=0)  # what rounding leaves of its mean would be divided by next to nothing
    mean = th.where(is_constant, raw[0], raw.mean(dim=0))
    std = raw.std(dim=0, correction=0).clamp(min=MIN_STD)
    return ((raw - mean) / std).masked_fill(is_constant, 0.0), mean, std


def check_vectors(trajectories: Sequence[Trajectory]) -> None:
    """
    Refuse observations that are images: networks as small as those here learn nothing of them.

    :param trajectories: At least one trajectory; all have the same spaces.
    :raises ValueError: when observations are images.
    """
    for name, array in observation_items(trajectories[0].observations):
        if array.ndim > 3:
            raise ValueError(
                f"{name} of shape {array.shape} are images: completion_horizon takes apart returns of trajectories of vectors"
            )


def _vectors(observations: Observations) -> dict[str, Array]:
    return dict(sorted(observations.items())) if isinstance(observations, dict) else {"": observations}


def _flatten(vectors: dict[str, Array]) -> Array:
    return np.concatenate([array.reshape(len(array), -1) for array in vectors.values()], axis=1)
