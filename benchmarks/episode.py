"""What the recipes of the benchmark data sets produce."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Episode:
    """
    One trajectory with the observation after its last step, as Minari wants it.

    :param observations: (n_steps + 1, obs_dim).
    :param actions: (n_steps, action_dim) float32, env units.
    :param rewards: (n_steps,).
    :param terminated: Whether the last step ended the task; otherwise the trajectory was cut there.
    """

    observations: np.ndarray[Any, Any]
    actions: np.ndarray[Any, Any]
    rewards: np.ndarray[Any, Any]
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)
