"""Generative Actor Critic for Stable-Baselines3."""

from sb3_gac.checkpoint import ExactCheckpointCallback, latest_checkpoint, load_checkpoint, save_checkpoint
from sb3_gac.gac import GAC
from sb3_gac.hub import load_from_hub, load_safe, push_to_hub, save_safe
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MlpPolicy, MultiInputPolicy

__version__ = "0.1.0"

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
