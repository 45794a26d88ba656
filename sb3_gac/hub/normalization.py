"""The statistics of a VecNormalize that go with a model."""

import warnings
import weakref
from typing import Any

from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_gac.gac import GAC
from sb3_gac.hub.plain import fits

Normalization = dict[str, Any]

_SETTINGS = {
    "norm_obs": bool,
    "norm_reward": bool,
    "clip_obs": float,
    "clip_reward": float,
    "gamma": float,
    "epsilon": float,
    "norm_obs_keys": list[str] | None,
}
_STATISTICS = {"obs_rms": RunningMeanStd | dict[str, RunningMeanStd] | None, "ret_rms": RunningMeanStd}
# Of models that were loaded without an environment that could take them
_loaded: "weakref.WeakKeyDictionary[GAC, Normalization]" = weakref.WeakKeyDictionary()


def find_normalization(model: GAC) -> Normalization | None:
    """
    Settings and statistics by which a model sees observations: of its environment, or those it was loaded with.

    :param model: The model.
    :raises ValueError: when its environment lacks those it was loaded with: they would be lost.
    """
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        return {name: getattr(normalizer, name, None) for name in (*_SETTINGS, *_STATISTICS)}
    if model in _loaded and model.env is not None:
        raise ValueError(
            "the model was loaded with statistics of a VecNormalize that its environment lacks, they would be lost: "
            "load it with env=..."
        )
    return _loaded.get(model)


def keep_normalization(model: GAC, normalization: Normalization) -> None:
    """
    Remember for the next time it is saved what a model was loaded with and has no environment for, and warn of it.

    :param model: The model.
    :param normalization: What :func:`find_normalization` returned.
    """
    _loaded[model] = normalization
    warnings.warn(
        "the model saw observations normalised by VecNormalize: load it with env=..., and give predict() the "
        "observations of model.get_env()",
        stacklevel=3,
    )


def check_normalization(normalization: Any) -> Normalization:
    """
    Refuse what is no normalization.

    :param normalization: Anything.
    :raises ValueError: naming what makes no sense.
    """
    hints: dict[str, Any] = _SETTINGS | _STATISTICS
    if not isinstance(normalization, dict) or normalization.keys() != hints.keys():
        raise ValueError(f"normalization must hold {', '.join(hints)}")
    for name, hint in hints.items():
        value = normalization[name]
        if not fits(value, hint) or (hint is float and not value >= 0):
            raise ValueError(f"normalization[{name!r}] is {str(value)[:200]}, which makes no sense")
    return normalization


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
    normalizer, settings = unwrap_vec_normalize(venv), {name: normalization[name] for name in _SETTINGS}
    if normalizer is None:
        normalizer = venv = VecNormalize(venv, training=False, **(settings | {"norm_reward": False}))
    elif normalizer.norm_obs != settings["norm_obs"]:
        raise ValueError(f"the model was saved with norm_obs={settings['norm_obs']}, the VecNormalize of env has it otherwise")
    statistics: list[tuple[str, Any, Any]] = [("ret_rms", normalizer.ret_rms, normalization["ret_rms"])]
    if settings["norm_obs"]:
        statistics.append(("obs_rms", normalizer.obs_rms, normalization["obs_rms"]))
    for name, own, given in statistics:
        if _shapes(own) != _shapes(given):
            raise ValueError(f"normalization[{name!r}] has the shapes {_shapes(given)}, the environment needs {_shapes(own)}")
        setattr(normalizer, name, given)
    return venv


def _shapes(statistics: Any) -> Any:
    if isinstance(statistics, dict):
        return {key: _shapes(part) for key, part in statistics.items()}
    return None if statistics is None else statistics.mean.shape
