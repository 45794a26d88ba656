"""The generative model p(z | o_1) p(τ | z) p(y | z, o_1) and the encoder of its posterior."""

from sb3_gac.networks.credit_network import Credit, CreditNetwork, RewardPredictor, SpreadPredictor
from sb3_gac.networks.decoder import FilmDecoder, PlanDecoder, plan_clock
from sb3_gac.networks.encoder import PlanEncoder
from sb3_gac.networks.prior import GaussianPrior, PlanPrior
from sb3_gac.networks.return_predictor import ReturnPredictor
from sb3_gac.networks.standardizer import ObservationStandardizer
from sb3_gac.networks.trajectory_model import TrajectoryModel

# What the policy's arguments ``prior`` and ``decoder`` may name
PRIORS: dict[str, type[PlanPrior]] = {"gaussian": GaussianPrior}
DECODERS: dict[str, type[PlanDecoder]] = {"film": FilmDecoder}

__all__ = [
    "DECODERS",
    "PRIORS",
    "Credit",
    "CreditNetwork",
    "FilmDecoder",
    "GaussianPrior",
    "ObservationStandardizer",
    "PlanDecoder",
    "PlanEncoder",
    "PlanPrior",
    "ReturnPredictor",
    "RewardPredictor",
    "SpreadPredictor",
    "TrajectoryModel",
    "plan_clock",
]
