"""Credit: from rewards or returns to weights of steps."""

from sb3_gac.credit.advantage import advantage_weights, fit_values, generalized_advantages, start_value
from sb3_gac.credit.decomposition import fit_rewards

__all__ = ["advantage_weights", "fit_rewards", "fit_values", "generalized_advantages", "start_value"]
