"""What the model is learnt from: trajectories, where they come from and where they are kept."""

from typing import TYPE_CHECKING

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import check_spaces
from sb3_gac.data.trajectory import Trajectory
from sb3_gac.lazy import import_lazily

if TYPE_CHECKING:
    from sb3_gac.data.dataset import OfflineDataset, load_dataset
    from sb3_gac.data.rollout import buffer_trajectories, rollout_trajectories

__all__ = [
    "OfflineDataset",
    "Trajectory",
    "TrajectoryReplayBuffer",
    "buffer_trajectories",
    "check_spaces",
    "load_dataset",
    "rollout_trajectories",
]

# A model that acts needs no loader
__getattr__ = import_lazily(
    __name__,
    {
        "sb3_gac.data.dataset": ("OfflineDataset", "load_dataset"),
        "sb3_gac.data.rollout": ("buffer_trajectories", "rollout_trajectories"),
    },
)
