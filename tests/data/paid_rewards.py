"""A decomposition of returns that finds the rewards that were paid."""

from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_gac.data import Trajectory


class PaidRewards:
    """As ``ReturnDecomposition``; to stay is worth what the last step of each trajectory that did not terminate was."""

    def __init__(self, trajectories: Sequence[Trajectory], draws_steps: bool = False) -> None:
        self.rewards = np.concatenate([trajectory.rewards for trajectory in trajectories]).astype(np.float64)
        self.last = np.array([whole.rewards[-1] for whole in trajectories if not whole.terminated], dtype=np.float64)

    def reward(self, rests: th.Tensor) -> np.ndarray:
        assert len(rests) == len(self.last)
        return self.last
