"""What is asked of the model: the evidence it gives, the plans it infers."""

from sb3_gac.inference.elbo import elbo
from sb3_gac.inference.exploit import exploit_plan, plan_score
from sb3_gac.inference.explore import explore_plan, target_log_prob
from sb3_gac.inference.plan_state import PlanState, check_episode_start
from sb3_gac.inference.planner import Planner
from sb3_gac.inference.posterior import fit_posterior

# What the policy's argument ``planner`` may name
PLANNERS: dict[str, type[Planner]] = {"sampling": Planner}

__all__ = [
    "PLANNERS",
    "PlanState",
    "Planner",
    "check_episode_start",
    "elbo",
    "exploit_plan",
    "explore_plan",
    "fit_posterior",
    "plan_score",
    "target_log_prob",
]
