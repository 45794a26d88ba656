"""Credit: from rewards or returns to weights of steps."""

from sb3_gac.credit.advantage import advantage_weights, fit_advantages
from sb3_gac.credit.decomposition import fit_rewards

__all__ = ["advantage_weights", "fit_advantages", "fit_rewards"]
