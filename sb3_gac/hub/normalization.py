"""The statistics of a VecNormalize that go with a model."""

from dataclasses import dataclass, fields
from typing import Any

from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_gac.gac import GAC
from sb3_gac.offline_env import OfflineVecEnv

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


def fit_env(model: GAC, env: GymEnv | None, normalization: Normalization | None) -> VecEnv:
    """
    An environment as a saved model has seen its own.

    One that is normalised already takes up the statistics and goes on as it is; any other is wrapped, with statistics that
    change no more and rewards as they are: to act and to evaluate.

    :param model: The model, which knows its spaces.
    :param env: The environment; where there is none, one that cannot be stepped holds the statistics.
    :param normalization: What :func:`find_normalization` returned.
    :raises ValueError: when the statistics do not fit the observations.
    """
    seen = OfflineVecEnv(model.observation_space, model.action_space) if env is None else env
    normalizer = unwrap_vec_normalize(seen) if isinstance(seen, VecEnv) else None
    if normalization is None:
        if normalizer is not None and normalizer.norm_obs:
            raise ValueError("env has a VecNormalize, but the model was saved without one and knows observations as they are")
        return model._wrap_env(seen, model.verbose)
    venv = seen if isinstance(seen, VecEnv) else DummyVecEnv([lambda: seen if is_wrapped(seen, Monitor) else Monitor(seen)])
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
    return model._wrap_env(venv, model.verbose)


def _shapes(statistics: Any) -> Any:
    if isinstance(statistics, dict):
        return {key: _shapes(part) for key, part in statistics.items()}
    return None if statistics is None else statistics.mean.shape
