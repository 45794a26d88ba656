"""All of a model but its weights, as plain JSON."""

import inspect
import json
import warnings
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch as th
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_gac.data.trajectory import error_context
from sb3_gac.gac import GAC
from sb3_gac.hub.normalization import normalizer_to_plain
from sb3_gac.hub.plain import MAX_COUNT, MAX_SIZE, check_limits, to_plain
from sb3_gac.hub.space import space_to_plain

MODEL_FILE, WEIGHTS_FILE = "gac.json", "model.safetensors"
SCHEMA_VERSION = 1
MAX_JSON_BYTES = 64 * 2**20

# What the one who loads decides, and what belongs to the machine
_NOT_SAVED = ("self", "policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model")
# Attributes that are named otherwise than their argument
_ATTRIBUTES = {"stats_window_size": "_stats_window_size"}
# Where learning stands
PROGRESS: dict[str, Any] = {
    "num_timesteps": int,
    "_total_timesteps": int,
    "_num_timesteps_at_start": int,
    "_current_progress_remaining": float,
    "_episode_num": int,
    "_n_updates": int,
    "_n_offline_updates": int,
    "_log_kl_coef": float,
    "_known_steps": list[int],
    "_credited_steps": int | None,
}
_KEYS = {
    "format",
    "schema_version",
    "versions",
    "algorithm",
    "policy",
    "observation_space",
    "action_space",
    "n_envs",
    "arguments",
    "progress",
    "target_return",
    "optimizer",
    "normalization",
    "weights",
}


# Of models that were loaded without an environment that could take them
_loaded_normalizations: "weakref.WeakKeyDictionary[GAC, dict[str, Any]]" = weakref.WeakKeyDictionary()


def keep_normalization(model: GAC, normalization: dict[str, Any]) -> None:
    """
    Remember for the next time it is saved what a model was loaded with and has no environment for, and warn of it.

    :param model: The model.
    :param normalization: What :func:`~sb3_gac.hub.normalization.normalizer_to_plain` returned.
    """
    _loaded_normalizations[model] = normalization
    warnings.warn(
        "the model saw observations normalised by VecNormalize: load it with env=..., and give predict() the "
        "observations of model.get_env()",
        stacklevel=3,
    )


def is_safe(folder: Path) -> bool:
    """
    Whether a folder holds a model saved by :func:`save_safe`.

    :param folder: The folder.
    """
    return (folder / MODEL_FILE).is_file()


def describe(model: GAC, env: GymEnv | None = None) -> dict[str, Any]:
    """
    All of a model but its weights, as plain JSON.

    :param model: The model.
    :param env: See :func:`~sb3_gac.hub.safe.save_safe`.
    :raises ValueError: naming what plain JSON cannot hold.
    """
    if model.observation_space is None:
        raise ValueError("the model has no networks yet: it needs an environment or a data set first")
    assert model.target_return is not None
    model.keep_settings()
    arguments = {}
    for name in argument_names(type(model)):
        value = getattr(model, _ATTRIBUTES.get(name, name))
        if name == "train_freq" and isinstance(value, TrainFreq):
            value = (value.frequency, value.unit.value)
        arguments[name] = to_plain(value, name)
    normalizer = find_normalizer(model, env)
    normalization = None if normalizer is None else normalizer_to_plain(normalizer)
    if normalization is None:
        normalization = _loaded_normalizations.get(model)
        if normalization is not None and model.env is not None:
            raise ValueError(
                "the model was loaded with statistics of a VecNormalize that its environment lacks, they would be lost: "
                "load it with env=..."
            )
    groups = [
        {k: v for k, v in group.items() if k != "params"} for group in model.policy.optimizer.state_dict()["param_groups"]
    ]
    return {
        "format": "sb3_gac",
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
        "algorithm": to_plain(type(model), "the class of the model", "algorithm")["$class"],
        "policy": to_plain(model.policy_class, "policy")["$class"],
        "observation_space": space_to_plain(model.observation_space, "observation_space"),
        "action_space": space_to_plain(model.action_space, "action_space"),
        "n_envs": model.n_envs,
        "arguments": arguments,
        "progress": {name: to_plain(getattr(model, name), name) for name in PROGRESS},
        "target_return": to_plain(asdict(model.target_return), "target_return"),
        "optimizer": to_plain(groups, "policy_kwargs['optimizer_kwargs']"),
        "normalization": normalization,
    }


def versions() -> dict[str, str]:
    """Versions of what a model was made with."""
    from sb3_gac import __version__

    return {
        "sb3_gac": __version__,
        "stable_baselines3": stable_baselines3.__version__,
        "torch": str(th.__version__),
        "numpy": np.__version__,
    }


def read_description(folder: Path) -> dict[str, Any]:
    """
    The JSON of a saved model, with all keys that it should have.

    :param folder: The folder.
    :raises ValueError: when it is missing, damaged, was made by a newer version, or asks for more than any model needs.
    """
    file = folder / MODEL_FILE
    if not file.is_file():
        raise ValueError(f"{folder} holds no model saved by save_safe: {MODEL_FILE} is missing")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{file} is larger than {MAX_JSON_BYTES:,} bytes: that is no model")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(data, dict) or data.get("format") != "sb3_gac":
        raise ValueError(f"{file} is not the description of a model of sb3_gac")
    version = data.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{file} is damaged: its schema_version is {version!r}")
    if version > SCHEMA_VERSION:
        made_by = data["versions"].get("sb3_gac") if isinstance(data.get("versions"), dict) else None
        raise ValueError(
            f"{file} has schema version {version}, this version of sb3_gac reads up to {SCHEMA_VERSION}: "
            f"upgrade sb3_gac (the model was saved by {made_by})"
        )
    if missing := sorted(_KEYS - data.keys()):
        raise ValueError(f"{file} is damaged: {', '.join(missing)} missing")
    for key in ("arguments", "progress", "target_return", "weights"):
        if not isinstance(data[key], dict):
            raise ValueError(f"{file} is damaged: {key} is no object")
    with error_context(f"{file} is damaged"):
        for key, value in data.items():
            check_limits(value, key, MAX_SIZE if key == "arguments" else MAX_COUNT)
    return data


def argument_names(algorithm: type[GAC]) -> list[str]:
    """
    Constructor arguments that are saved.

    :param algorithm: Class of the model.
    """
    parameters = inspect.signature(algorithm.__init__).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.kind not in kinds and p.name not in _NOT_SAVED]


def find_normalizer(model: GAC, env: GymEnv | None) -> VecNormalize | None:
    """
    The ``VecNormalize`` of the model's environment, or of another one where it has none.

    :param model: The model.
    :param env: The other environment.
    """
    known = env if model.env is None else model.env
    return unwrap_vec_normalize(known) if isinstance(known, VecEnv) else None
