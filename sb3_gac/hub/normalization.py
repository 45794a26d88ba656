"""Statistics of a VecNormalize as plain JSON."""

import math
from typing import Any

import numpy as np
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_gac.hub.plain import array_from_plain, array_to_plain, from_plain, to_plain

_NUMBERS = ("clip_obs", "clip_reward", "gamma", "epsilon")
_SETTINGS = ("norm_obs", "norm_reward", *_NUMBERS, "norm_obs_keys")


def normalizer_to_plain(normalizer: VecNormalize) -> dict[str, Any]:
    """
    Settings and statistics as plain JSON.

    :param normalizer: The wrapper.
    """
    obs_rms = normalizer.obs_rms if normalizer.norm_obs else None
    if isinstance(obs_rms, dict):
        obs: Any = {"parts": {key: _statistics_to_plain(part) for key, part in obs_rms.items()}}
    else:
        obs = None if obs_rms is None else _statistics_to_plain(obs_rms)
    settings = {name: to_plain(getattr(normalizer, name), f"VecNormalize.{name}") for name in _SETTINGS}
    return {"settings": settings, "observations": obs, "returns": _statistics_to_plain(normalizer.ret_rms)}


def normalize_env(env: GymEnv, data: Any) -> VecEnv:
    """
    An environment normalised by saved statistics.

    One that is normalised already takes them up and goes on as it is; any other is wrapped, with statistics that change no
    more and rewards as they are: to act and to evaluate.

    :param env: The environment.
    :param data: What :func:`normalizer_to_plain` returned, read from JSON.
    :raises ValueError: when the statistics do not fit the observations.
    """
    if not isinstance(data, dict) or data.keys() != {"settings", "observations", "returns"}:
        raise ValueError("normalization is not as it should be written")
    settings = from_plain(data["settings"], "normalization.settings")
    if not isinstance(settings, dict) or settings.keys() != set(_SETTINGS):
        raise ValueError(f"normalization.settings must hold {', '.join(_SETTINGS)}")
    keys = settings["norm_obs_keys"]
    is_right = {name: isinstance(settings[name], bool) for name in ("norm_obs", "norm_reward")}
    is_right |= {name: isinstance(settings[name], int | float) and settings[name] >= 0 for name in _NUMBERS}
    is_right["norm_obs_keys"] = keys is None or (isinstance(keys, list) and all(isinstance(key, str) for key in keys))
    if wrong := [name for name, right in is_right.items() if not right]:
        raise ValueError(f"normalization.settings[{wrong[0]!r}] is {str(settings[wrong[0]])[:200]}, which makes no sense")
    venv = vectorize(env)
    normalizer = unwrap_vec_normalize(venv)
    if normalizer is None:
        normalizer = venv = VecNormalize(venv, training=False, **(settings | {"norm_reward": False}))
    elif normalizer.norm_obs != settings["norm_obs"]:
        raise ValueError(f"the model was saved with norm_obs={settings['norm_obs']}, the VecNormalize of env has it otherwise")
    if settings["norm_obs"]:
        _take_statistics(normalizer, data["observations"])
    normalizer.ret_rms = _statistics_from_plain(data["returns"], (), "normalization.returns")
    return venv


def vectorize(env: GymEnv) -> VecEnv:
    """
    What a ``VecNormalize`` can be put around.

    :param env: The environment; one that is no ``VecEnv`` becomes one, with a ``Monitor``.
    """
    if isinstance(env, VecEnv):
        return env
    return DummyVecEnv([lambda: env if is_wrapped(env, Monitor) else Monitor(env)])


def _take_statistics(normalizer: VecNormalize, data: Any) -> None:
    running = normalizer.obs_rms
    name = "normalization.observations"
    if not isinstance(running, dict):
        normalizer.obs_rms = _statistics_from_plain(data, running.mean.shape, name)
        return
    parts = data.get("parts") if isinstance(data, dict) else None
    if not isinstance(parts, dict) or parts.keys() != running.keys():
        raise ValueError(f"{name} does not have the keys {sorted(running)} of env")
    normalizer.obs_rms = {
        key: _statistics_from_plain(parts[key], part.mean.shape, f"{name}[{key!r}]") for key, part in running.items()
    }


def _statistics_to_plain(statistics: RunningMeanStd) -> dict[str, Any]:
    mean, var = np.asarray(statistics.mean), np.asarray(statistics.var)
    return {
        "mean": array_to_plain(mean, "VecNormalize.mean"),
        "var": array_to_plain(var, "VecNormalize.var"),
        "count": float(statistics.count),
    }


def _statistics_from_plain(data: Any, shape: tuple[int, ...], name: str) -> RunningMeanStd:
    if not isinstance(data, dict) or data.keys() != {"mean", "var", "count"} or not _is_number(data["count"]):
        raise ValueError(f"{name} must hold mean, var and count, finite numbers")
    statistics = RunningMeanStd(shape=shape)
    mean, var = (array_from_plain(data[key], f"{name}.{key}") for key in ("mean", "var"))
    if mean.shape != shape or var.shape != shape:
        raise ValueError(f"{name} has the shapes {mean.shape} and {var.shape}, the environment needs {shape}")
    if not (np.isfinite(mean).all() and np.isfinite(var).all() and (var >= 0).all() and data["count"] >= 0):
        raise ValueError(f"{name} must be finite, with var and count not negative")
    statistics.mean, statistics.var, statistics.count = mean, var, float(data["count"])
    return statistics


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
