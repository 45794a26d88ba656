"""The statistics of a VecNormalize that go with a model."""

from dataclasses import dataclass, fields
from typing import Any

from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_gac.gac import GAC

_STATISTICS = ("obs_rms", "ret_rms")


@dataclass(frozen=True)
class Normalization:
    """
    How a model sees its environment, by the names that ``VecNormalize`` has.

    Whether rewards are normalised is for the environment of the one who loads it to say.
    """

    norm_obs: bool
    norm_obs_keys: list[str] | None
    clip_obs: float
    clip_reward: float
    gamma: float
    epsilon: float
    obs_rms: RunningMeanStd | dict[str, RunningMeanStd] | None
    ret_rms: RunningMeanStd


def find_normalization(model: GAC) -> Normalization | None:
    """
    Settings and statistics by which a model sees observations.

    :param model: The model.
    :raises ValueError: when it has learnt from normalised observations and its environment normalises none.
    """
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        values: dict[str, Any] = {field.name: getattr(normalizer, field.name, None) for field in fields(Normalization)}
        return Normalization(**values)
    if model._sees_normalized:
        raise ValueError(
            "the model has learnt with a VecNormalize that its environment lacks, its statistics would be lost: load it with "
            "env=..."
        )
    return None


def normalize_env(env: GymEnv, normalization: Normalization) -> VecEnv:
    """
    An environment normalised by saved statistics.

    One that is normalised already takes them up and goes on as it is; any other is wrapped, with statistics that change no
    more and rewards as they are: to act and to evaluate.

    :param env: The environment.
    :param normalization: What :func:`find_normalization` returned.
    :raises ValueError: when the statistics do not fit the observations.
    """
    venv = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env if is_wrapped(env, Monitor) else Monitor(env)])
    normalizer = unwrap_vec_normalize(venv)
    if normalizer is None:
        settings = {name: value for name, value in vars(normalization).items() if name not in _STATISTICS}
        normalizer = venv = VecNormalize(venv, training=False, norm_reward=False, **settings)
    elif normalizer.norm_obs != normalization.norm_obs:
        raise ValueError(
            f"the model was saved with norm_obs={normalization.norm_obs}, the VecNormalize of env has it otherwise"
        )
    for name in _STATISTICS:
        given, own = getattr(normalization, name), getattr(normalizer, name, None)
        if _shapes(own) != _shapes(given):
            raise ValueError(
                f"{name} of the normalization has the shapes {_shapes(given)}, the environment needs {_shapes(own)}"
            )
        if given is not None:
            setattr(normalizer, name, given)
    return venv


def _shapes(statistics: Any) -> Any:
    if isinstance(statistics, dict):
        return {key: _shapes(part) for key, part in statistics.items()}
    return None if statistics is None else statistics.mean.shape
