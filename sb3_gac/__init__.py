"""Generative Actor Critic for Stable-Baselines3."""

from sb3_gac.gac import GAC
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MlpPolicy, MultiInputPolicy

__version__ = "0.1.0"

__all__ = ["GAC", "CnnPolicy", "LatentPlanPolicy", "MlpPolicy", "MultiInputPolicy", "__version__"]
