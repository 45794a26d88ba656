"""
Models in files that hold data only: the weights in safetensors, all else in plain JSON. Loading them runs no code of theirs.

A replay buffer, the data set and the environment are not part of a model.
"""

import json
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_gac.digest import file_digest
from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.description import (
    MODEL_FILE,
    PROGRESS,
    WEIGHTS_FILE,
    argument_names,
    describe,
    is_safe,
    keep_normalization,
    read_description,
)
from sb3_gac.hub.normalization import normalize_env
from sb3_gac.hub.plain import class_of_name, from_plain
from sb3_gac.hub.space import space_from_plain
from sb3_gac.inference import TargetReturn
from sb3_gac.policies import LatentPlanPolicy

# Of the policy; the second one's settings are no arguments, only its state is saved
_OPTIMIZERS = ("optimizer", "credit_optimizer")
# State of Adafactor, which is not shaped as the parameters
_FACTORED = ("row_var", "col_var")


def save_safe(model: GAC, path: str | Path, env: GymEnv | None = None) -> Path:
    """
    Save a model in a folder that can be loaded from anyone: without a pickle, see :func:`load_safe`.

    A folder of the same name is replaced when the new one is complete. Learning rates as functions must be those of
    ``stable_baselines3.common.utils``; classes of yours in ``policy_kwargs`` must be let in by :func:`allow_class`.

    :param model: The model.
    :param path: The folder, or a link to it.
    :param env: Where the statistics of a ``VecNormalize`` are taken from when the model has no environment of its own.
    :raises ValueError: naming the argument that plain JSON cannot hold, or when the path is the working folder.
    :raises FileExistsError: when there is something else at the path.
    """
    require("hub", "safetensors")
    folder = Path(path).resolve()
    if Path.cwd().is_relative_to(folder):
        raise ValueError(f"path must be a folder that can be replaced, {folder} is the working folder or around it")
    partial, old = folder.with_name(f".{folder.name}.partial"), _old(folder)
    if folder.exists() and not (folder.is_dir() and (is_safe(folder) or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} is there already and is no saved model: it is not overwritten")
    description = describe(model, env)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        write_safe(model, description, partial)
        if old.exists():  # a crash came between the two renamings below, or before the removal
            shutil.rmtree(old) if folder.exists() else old.rename(folder)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return Path(path)


def load_safe(
    path: str | Path, env: GymEnv | None = None, device: th.device | str = "auto", verbose: int = 0, **kwargs: Any
) -> GAC:
    """
    Load a model that :func:`save_safe` has written; no pickle is read, and no code of the files runs.

    :param path: The folder.
    :param env: Environment to act and learn in, which must have the same spaces. When the model was saved with a
        ``VecNormalize``, its statistics come back: into that of ``env``, or into one that is put around it and changes no
        more; ``model.get_env()`` is the normalised environment.
    :param device: PyTorch device.
    :param verbose: 0 for no output, 1 for information, 2 for debugging.
    :param kwargs: Constructor arguments that replace those saved.
    :raises FileNotFoundError: when there is no such folder.
    :raises ValueError: when a file is damaged, was made by a newer version, or does not fit the environment.
    """
    require("hub", "safetensors")
    folder = Path(path)
    if not folder.is_dir():
        old = _old(folder.resolve())
        hint = f"; {old} is the one that was being replaced when a crash came" if old.exists() else ""
        raise FileNotFoundError(f"there is no folder {folder}{hint}")
    description = read_description(folder)
    tensors = _read_weights(folder, description["weights"])
    try:
        model, env = _build(description, env, device, {"verbose": verbose} | kwargs)
        _load_policy(model, tensors)
        _load_optimizer(model, tensors, from_plain(description["optimizer"], "optimizer"))
        _load_optimizer(model, tensors, [{}], "credit_optimizer")
    except (ValueError, TypeError, AssertionError, KeyError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{folder} cannot be loaded: {error}") from error
    if env is not None:
        model.set_env(env)
    elif description["normalization"] is not None:
        keep_normalization(model, description["normalization"])
    return model


def _old(folder: Path) -> Path:
    """Where a folder is while another takes its place."""
    return folder.with_name(f".{folder.name}.old")


def write_safe(model: GAC, description: dict[str, Any], folder: Path) -> None:
    """
    Write the two files of a model.

    :param model: The model.
    :param description: What :func:`describe` says of it.
    :param folder: A folder without these files.
    """
    from safetensors.torch import save_file

    tensors = {f"policy.{name}": tensor for name, tensor in model.policy.state_dict().items()}
    for part in _OPTIMIZERS:
        for index, state in getattr(model.policy, part).state_dict()["state"].items():
            for name, value in state.items():
                if not isinstance(value, th.Tensor):
                    raise ValueError(f"the {part} keeps {name} as {type(value).__name__}, expected a tensor")
                tensors[f"{part}.{index}.{name}"] = value
    weights = folder / WEIGHTS_FILE
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, weights)
    description = description | {"weights": {"file": WEIGHTS_FILE, "sha256": file_digest(weights)}}
    (folder / MODEL_FILE).write_text(json.dumps(description, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for file in (weights, folder / MODEL_FILE):
        with file.open("r+b") as stream:
            os.fsync(stream.fileno())


def _read_weights(folder: Path, data: dict[str, Any]) -> dict[str, th.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / WEIGHTS_FILE
    if data.get("file") != WEIGHTS_FILE:
        raise ValueError(f"{folder / MODEL_FILE} is damaged: its weights are in {data.get('file')!r}, not in {WEIGHTS_FILE}")
    if not file.is_file():
        raise ValueError(f"{file} is missing")
    if file_digest(file) != data.get("sha256"):
        raise ValueError(f"{file} is damaged, or belongs to another {MODEL_FILE}: its digest is not the one noted there")
    try:
        tensors: dict[str, th.Tensor] = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return tensors


def _build(
    description: dict[str, Any], env: GymEnv | None, device: th.device | str, kwargs: dict[str, Any]
) -> tuple[GAC, GymEnv | None]:
    """A model with new networks, and its environment."""
    algorithm = class_of_name(description["algorithm"], "algorithm")
    policy = class_of_name(description["policy"], "policy")
    if not issubclass(algorithm, GAC) or not issubclass(policy, LatentPlanPolicy):
        raise ValueError(f"{description['algorithm']} with {description['policy']} is no GAC")
    known = argument_names(algorithm)
    if unknown := [name for name in description["arguments"] if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: no arguments of {algorithm.__name__} in this version of sb3_gac")
    arguments = {name: from_plain(value, name) for name, value in description["arguments"].items()} | kwargs
    if not isinstance(arguments.get("action_noise"), ActionNoise | None):
        raise ValueError(f"action_noise must be an ActionNoise or None, not {arguments['action_noise']!r}")
    model = algorithm(policy, env=None, device=device, _init_setup_model=False, **arguments)
    model.observation_space, model.action_space = (
        space_from_plain(description[key], key) for key in ("observation_space", "action_space")
    )
    model.n_envs = int(description["n_envs"])
    if env is not None:
        env = _fit_env(model, env, description["normalization"])
        model.n_envs = env.num_envs
    for name in PROGRESS:
        value = from_plain(description["progress"][name], name)
        if not isinstance(value, type(getattr(model, name)) | int):
            raise ValueError(f"{name} must be a {type(getattr(model, name)).__name__}, not {value!r}")
        setattr(model, name, value)
    target = from_plain(description["target_return"], "target_return")
    if target.keys() != {field.name for field in fields(TargetReturn)}:
        raise ValueError(f"target_return has the fields {', '.join(target)}")
    model.target_return = TargetReturn(**target)
    model._setup_model()  # arguments that were given anew win over what was saved
    return model, env


def _fit_env(model: GAC, env: GymEnv, normalization: Any) -> VecEnv:
    if normalization is not None:
        env = normalize_env(env, normalization)
    wrapped = model._wrap_env(env, model.verbose)
    check_for_correct_spaces(wrapped, model.observation_space, model.action_space)
    normalizer = unwrap_vec_normalize(wrapped)
    if normalization is None and normalizer is not None and normalizer.norm_obs:
        raise ValueError("env has a VecNormalize, but the model was saved without one and knows the observations as they are")
    return wrapped


def _load_policy(model: GAC, tensors: dict[str, th.Tensor]) -> None:
    expected = {f"policy.{name}": tensor for name, tensor in model.policy.state_dict().items()}
    given = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] not in _OPTIMIZERS}
    if expected.keys() != given.keys():
        lacking, unknown = (sorted(a - b)[:3] for a, b in ((expected.keys(), given.keys()), (given.keys(), expected.keys())))
        raise ValueError(f"{WEIGHTS_FILE} lacks the tensors {lacking} and has {unknown} besides")
    for name, tensor in expected.items():
        _check_tensor(name, given[name], tensor)
    model.policy.load_state_dict({name.removeprefix("policy."): tensor for name, tensor in given.items()})


def _load_optimizer(model: GAC, tensors: dict[str, th.Tensor], groups: Any, part: str = "optimizer") -> None:
    optimizer: th.optim.Optimizer = getattr(model.policy, part)
    current = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(groups) != len(current["param_groups"]):
        raise ValueError(f"optimizer has {len(groups)} groups of parameters, expected {len(current['param_groups'])}")
    for group, saved in zip(current["param_groups"], groups, strict=True):
        if unknown := sorted(saved.keys() - group.keys()):
            raise ValueError(f"optimizer has the unknown settings {', '.join(unknown)}")
        group.update(saved)
    for name, tensor in tensors.items():
        if not name.startswith(f"{part}."):
            continue
        _, index, key = name.split(".", 2)
        if not index.isdecimal() or int(index) >= len(parameters):
            raise ValueError(f"{name} belongs to no parameter of the policy")
        if tensor.numel() != 1 and key not in _FACTORED:
            _check_tensor(name, tensor, parameters[int(index)])
        current["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(current)


def _check_tensor(name: str, given: th.Tensor, expected: th.Tensor) -> None:
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise ValueError(
            f"{name} has the shape {tuple(given.shape)} and {given.dtype}, "
            f"expected {tuple(expected.shape)} and {expected.dtype}"
        )
