"""What the model is learnt from: trajectories, where they come from and where they are kept."""

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.trajectory import Trajectory

__all__ = ["Trajectory", "TrajectoryReplayBuffer"]
