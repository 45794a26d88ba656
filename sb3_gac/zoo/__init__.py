"""GAC in the RL Zoo: ``python -m sb3_gac.zoo train --env Pendulum-v1``."""

from sb3_gac.zoo.download import download_run
from sb3_gac.zoo.offline_phase import OfflinePhase
from sb3_gac.zoo.registration import HYPERPARAMS, OFFLINE_HYPERPARAMS, register
from sb3_gac.zoo.sampler import convert_gac_params, sample_gac_params

__all__ = [
    "HYPERPARAMS",
    "OFFLINE_HYPERPARAMS",
    "OfflinePhase",
    "convert_gac_params",
    "download_run",
    "register",
    "sample_gac_params",
]
