"""Credit: from rewards or returns to weights of steps and advantages of segments."""

from sb3_gac.credit.advantage import advantage_weights, fit_advantages
from sb3_gac.credit.assignment import OFFLINE, ONLINE, AdvantageCredit, AssignedCredit, CreditRule, Effort
from sb3_gac.credit.decomposition import fit_rewards
from sb3_gac.credit.segment import segment_advantages, standardise_by_state

__all__ = [
    "OFFLINE",
    "ONLINE",
    "AdvantageCredit",
    "AssignedCredit",
    "CreditRule",
    "Effort",
    "advantage_weights",
    "fit_advantages",
    "fit_rewards",
    "segment_advantages",
    "standardise_by_state",
]
