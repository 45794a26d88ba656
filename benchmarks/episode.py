"""What the recipes of the benchmark data sets produce."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.envs import Task


@dataclass(frozen=True)
class Episode:
    """
    One trajectory with the observation after its last step, as Minari wants it.

    :param observations: (n_steps + 1, obs_dim).
    :param actions: (n_steps, action_dim) float32, env units.
    :param rewards: (n_steps,).
    :param terminated: whether the last step ended the task; otherwise the trajectory was cut there.
    """

    observations: np.ndarray[Any, Any]
    actions: np.ndarray[Any, Any]
    rewards: np.ndarray[Any, Any]
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)


class Recipe(Protocol):
    """How a data set is made; a frozen dataclass, so that its fields can be kept beside the data."""

    @property
    def description(self) -> str:
        """One sentence for the reader of the data set."""

    @property
    def total_steps(self) -> int | None:
        """About how many steps :meth:`collect` yields; None when that is not known beforehand."""

    def collect(self, task: Task, seed: int, work_dir: Path) -> Iterator[Episode]:
        """
        Make the trajectories.

        :param task: whose environment they are from.
        :param seed: the same seed makes the same trajectories.
        :param work_dir: where a recipe may keep what it needs to go on after an interruption.
        """
