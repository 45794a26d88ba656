"""What the RL Zoo has to know about GAC."""

import importlib
from pathlib import Path
from typing import Any

from sb3_gac.gac import GAC
from sb3_gac.zoo.sampler import convert_gac_params, sample_gac_params

HYPERPARAMS = Path(__file__).parent / "hyperparams" / "gac.yml"
"""Settings for learning online from nothing, in the format of the RL Zoo."""
OFFLINE_HYPERPARAMS = Path(__file__).parent / "hyperparams" / "gac_offline.yml"
"""Settings for learning from a data set first."""


def register() -> None:
    """
    Make ``gac`` known to the RL Zoo of this process: for training, for enjoying, and for tuning.

    :raises ImportError: naming the extra, when the RL Zoo is missing or cannot be imported.
    """
    zoo: Any = import_zoo("rl_zoo3")
    tuning: Any = import_zoo("rl_zoo3.hyperparams_opt")
    zoo.ALGOS["gac"] = GAC
    tuning.HYPERPARAMS_SAMPLER["gac"] = sample_gac_params
    tuning.HYPERPARAMS_CONVERTER["gac"] = convert_gac_params


def import_zoo(module: str) -> Any:
    """
    Import a module of the RL Zoo.

    :param module: its full name.
    :raises ImportError: naming the extra, when it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{module} cannot be imported ({error}): pip install "sb3-gac[zoo]"') from error
