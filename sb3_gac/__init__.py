"""Generative Actor Critic for Stable-Baselines3."""

from typing import TYPE_CHECKING

from sb3_gac.gac import GAC
from sb3_gac.lazy import import_lazily
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MlpPolicy, MultiInputPolicy
from sb3_gac.version import __version__

if TYPE_CHECKING:
    from sb3_gac.checkpoint import ExactCheckpointCallback, latest_checkpoint, load_checkpoint, save_checkpoint
    from sb3_gac.hub.push import load_from_hub, push_to_hub
    from sb3_gac.hub.safe import load_safe, save_safe

__all__ = [
    "GAC",
    "CnnPolicy",
    "ExactCheckpointCallback",
    "LatentPlanPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "__version__",
    "latest_checkpoint",
    "load_checkpoint",
    "load_from_hub",
    "load_safe",
    "push_to_hub",
    "save_checkpoint",
    "save_safe",
]

__getattr__ = import_lazily(
    __name__,
    {
        "sb3_gac.checkpoint": ("ExactCheckpointCallback", "latest_checkpoint", "load_checkpoint", "save_checkpoint"),
        "sb3_gac.hub.push": ("load_from_hub", "push_to_hub"),
        "sb3_gac.hub.safe": ("load_safe", "save_safe"),
    },
)
