"""
Models in files that hold data only: the weights in safetensors, all else in plain JSON. Loading them runs no code of theirs.

A replay buffer, the data set and the environment are not part of a model.
"""

import inspect
import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import nn

from sb3_gac.actor import PlanActor
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
from sb3_gac.hub.plain import MAX_ELEMENTS, class_of_name, from_plain
from sb3_gac.hub.signature import check_types, fits
from sb3_gac.hub.space import space_from_plain
from sb3_gac.inference import TargetReturn
from sb3_gac.offline_env import OfflineVecEnv
from sb3_gac.policies import LatentPlanPolicy

# Steps and squares
_NOT_NEGATIVE = ("step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "row_var", "col_var", "variance")
MAX_ENVS = 2**16
# Folder in that of a model, where the files are until they are complete
PARTIAL = ".gac.partial"
# Of the policy; the settings of the second one are no arguments, only its state is saved
_OPTIMIZERS = ("optimizer", "credit_optimizer")


def save_safe(model: GAC, path: str | Path, env: GymEnv | None = None) -> Path:
    """
    Save a model in a folder that can be loaded from anyone: without a pickle, see :func:`load_safe`.

    A model that the folder holds is replaced when the new one is complete; its other files stay as they are. Learning
    rates as functions must be those of ``stable_baselines3.common.utils``; classes of yours in ``policy_kwargs`` must be
    let in by :func:`allow_class`.

    :param model: The model.
    :param path: The folder, or a link to it.
    :param env: Where the statistics of a ``VecNormalize`` are taken from when the model has no environment of its own.
    :raises ValueError: naming the argument that plain JSON cannot hold, or the weights that are not finite.
    :raises FileExistsError: when there is something else at the path.
    """
    require("hub", "safetensors")
    folder = Path(path)
    is_new = not folder.exists()
    if not is_new and not (folder.is_dir() and (is_safe(folder) or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} is there already and is no saved model: it is not overwritten")
    description = describe(model, env)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / PARTIAL
    if _is_half_replaced(folder):
        os.replace(partial / MODEL_FILE, folder / MODEL_FILE)
    try:
        partial.mkdir(exist_ok=True)
        write_safe(model, description, partial)
        for name in (WEIGHTS_FILE, MODEL_FILE):  # in this order, see `_is_half_replaced`
            os.replace(partial / name, folder / name)
    finally:
        if not _is_half_replaced(folder):
            for name in (WEIGHTS_FILE, MODEL_FILE):
                (partial / name).unlink(missing_ok=True)
            partial.rmdir()
            if is_new and not is_safe(folder):
                folder.rmdir()
    return folder


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
    :raises ValueError: when a file is damaged, was made by a newer version, asks for more than its tensors are of, or does
        not fit the environment.
    """
    require("hub", "safetensors")
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    description = read_description(folder / PARTIAL if _is_half_replaced(folder) else folder)
    tensors = _read_weights(folder, description["weights"])
    try:
        model, env = _build(description, tensors, env, device, {"verbose": verbose} | kwargs)
        _load_policy(model, tensors)
        _load_optimizer(model, tensors, from_plain(description["optimizer"], "optimizer"))
        _load_optimizer(model, tensors, [{}], "credit_optimizer")
    except Exception as error:  # a file can make each of them
        raise ValueError(f"{folder} cannot be loaded: {error or type(error).__name__}") from error
    if env is not None:
        model.set_env(env)
    elif description["normalization"] is not None:
        keep_normalization(model, description["normalization"])
    return model


def _is_half_replaced(folder: Path) -> bool:
    """Whether a crash came when the weights had taken their place, and the description that goes with them had not."""
    return is_safe(folder / PARTIAL) and not (folder / PARTIAL / WEIGHTS_FILE).exists()


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
    if wrong := [name for name, tensor in tensors.items() if tensor.isnan().any()]:
        raise ValueError(f"{wrong[0]} holds numbers that are not finite: the model has diverged")
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
    description: dict[str, Any],
    tensors: dict[str, th.Tensor],
    env: GymEnv | None,
    device: th.device | str,
    kwargs: dict[str, Any],
) -> tuple[GAC, GymEnv | None]:
    """A model with new networks, and its environment."""
    algorithm = class_of_name(description["algorithm"], "algorithm", "algorithm")
    policy = class_of_name(description["policy"], "policy", "policy")
    assert issubclass(algorithm, GAC) and issubclass(policy, LatentPlanPolicy)
    known = argument_names(algorithm)
    if unknown := [name for name in description["arguments"] if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: no arguments of {algorithm.__name__} in this version of sb3_gac")
    arguments = {name: from_plain(value, name) for name, value in description["arguments"].items()}
    check_types(arguments, algorithm.__init__, GAC.__init__)
    check_types(arguments.get("policy_kwargs") or {}, policy.__init__, LatentPlanPolicy.__init__, PlanActor.__init__)
    arguments |= kwargs
    model = algorithm(policy, env=None, device=device, _init_setup_model=False, **arguments)
    model.observation_space, model.action_space = (
        space_from_plain(description[key], key) for key in ("observation_space", "action_space")
    )
    noise = model.action_noise
    if isinstance(noise, NormalActionNoise | OrnsteinUhlenbeckActionNoise):
        np.broadcast_to(noise._mu + noise._sigma, model.action_space.shape or ())  # raises where they do not fit
    if type(description["n_envs"]) is not int or not 1 <= description["n_envs"] <= MAX_ENVS:
        raise ValueError(f"n_envs is {description['n_envs']!r}, expected a number from 1 to {MAX_ENVS:,}")
    model.n_envs = description["n_envs"]
    if env is not None:
        env = _fit_env(model, env, description["normalization"])
        model.n_envs = env.num_envs
    elif description["normalization"] is not None:
        normalize_env(OfflineVecEnv(model.observation_space, model.action_space), description["normalization"])
    for name, hint in PROGRESS.items():
        value = from_plain(description["progress"][name], name)
        if not fits(value, hint) or not (value is None or np.isfinite(value).all()):
            raise ValueError(f"{name} must be {hint} of finite numbers, not {str(value)[:200]!r}")
        setattr(model, name, value)
    target = from_plain(description["target_return"], "target_return")
    if target.keys() != {field.name for field in fields(TargetReturn)}:
        raise ValueError(f"target_return has the fields {', '.join(target)}")
    check_types(target, TargetReturn.__init__)
    if not all(value is None or math.isfinite(value) for value in target.values()):
        raise ValueError(f"target_return is {target}, expected finite numbers")
    model.target_return = TargetReturn(**target)
    _check_networks(model, tensors)
    model._setup_model()  # arguments that were given anew win over what was saved
    return model, env


def _check_networks(model: GAC, tensors: dict[str, th.Tensor]) -> None:
    """Compare the networks that a file asks for with its tensors, before memory is taken for them."""
    defaults = {name: argument.default for name, argument in inspect.signature(PlanActor.__init__).parameters.items()}
    kwargs = model.policy_kwargs
    sizes = defaults | kwargs
    net_arch = kwargs.get("net_arch") or []
    n_layers = sum(map(len, net_arch.values())) if isinstance(net_arch, dict) else len(net_arch)
    # Each decoder and each layer has tensors of its own; candidates have none in the file
    for name, given, most in (
        ("n_decoders", sizes["n_decoders"], len(tensors)),
        ("net_arch", n_layers, len(tensors)),
        ("n_candidates", sizes["n_candidates"] * sizes["plan_dim"], MAX_ELEMENTS),
    ):
        if given > most:
            raise ValueError(f"{name} asks for {given:,}, expected at most {most:,}")
    kwargs = {**kwargs, "optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.0}}
    with th.device("meta"):
        policy = model.policy_class(model.observation_space, model.action_space, lambda _: 1.0, **kwargs)
    check_names_and_shapes(policy.state_dict(), tensors)


def _fit_env(model: GAC, env: GymEnv, normalization: Any) -> VecEnv:
    if normalization is not None:
        env = normalize_env(env, normalization)
    wrapped = model._wrap_env(env, model.verbose)
    check_for_correct_spaces(wrapped, model.observation_space, model.action_space)
    normalizer = unwrap_vec_normalize(wrapped)
    if normalization is None and normalizer is not None and normalizer.norm_obs:
        raise ValueError("env has a VecNormalize, but the model was saved without one and knows the observations as they are")
    return wrapped


def check_names_and_shapes(state: dict[str, th.Tensor], tensors: dict[str, th.Tensor]) -> None:
    """
    Refuse tensors of a file that are not those of a policy.

    :param state: The policy's state dict.
    :param tensors: Tensors of the file, by their names there.
    :raises ValueError: naming those that lack, are too many, or are of another shape or dtype.
    """
    expected = {f"policy.{name}": tensor for name, tensor in state.items()}
    given = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] not in _OPTIMIZERS}
    if expected.keys() != given.keys():
        lacking, unknown = (sorted(a - b)[:3] for a, b in ((expected.keys(), given.keys()), (given.keys(), expected.keys())))
        raise ValueError(f"{WEIGHTS_FILE} lacks the tensors {lacking} and has {unknown} besides")
    for name, tensor in expected.items():
        _check_tensor(name, given[name], tensor)


def _load_policy(model: GAC, tensors: dict[str, th.Tensor]) -> None:
    state = model.policy.state_dict()
    for name, fresh in state.items():
        given = tensors[f"policy.{name}"]
        # Bounds of what was never seen are infinite from the start
        if not (given.isfinite() | (given == fresh.to(given.device))).all():
            raise ValueError(f"policy.{name} holds numbers that are not finite")
    model.policy.load_state_dict({name: tensors[f"policy.{name}"] for name in state})


def _load_optimizer(model: GAC, tensors: dict[str, th.Tensor], groups: Any, part: str = "optimizer") -> None:
    optimizer: th.optim.Optimizer = getattr(model.policy, part)
    current = optimizer.state_dict()
    if not isinstance(groups, list) or len(groups) != len(current["param_groups"]):
        n_groups = len(groups) if isinstance(groups, list) else groups
        raise ValueError(f"optimizer has {n_groups} groups of parameters, expected {len(current['param_groups'])}")
    for group, saved in zip(current["param_groups"], groups, strict=True):
        if unknown := sorted(saved.keys() - group.keys()):
            raise ValueError(f"optimizer has the unknown settings {', '.join(unknown)}")
        for name, value in saved.items():
            if name == "params" or not _is_like(value, group[name]):
                raise ValueError(f"optimizer has the setting {name} {str(value)[:200]!r}, expected one like {group[name]!r}")
        group.update(saved)
    for name, tensor in tensors.items():
        if name.startswith(f"{part}."):
            _, index, key = name.split(".", 2)
            current["state"].setdefault(index, {})[key] = tensor
    if current["state"]:
        _check_optimizer_state(model, part, current["state"])
        optimizer.load_state_dict({**current, "state": {int(index): state for index, state in current["state"].items()}})
    else:
        optimizer.load_state_dict(current)


def _is_like(value: Any, now: Any) -> bool:
    """Whether a setting may take the place of another: numbers may differ, what is decided once may not."""
    if isinstance(now, tuple):
        return isinstance(value, tuple) and len(value) == len(now) and all(map(_is_like, value, now))
    return math.isfinite(value) if fits(now, float) and fits(value, float) else bool(value == now)


def _check_optimizer_state(model: GAC, part: str, states: dict[str, dict[str, th.Tensor]]) -> None:
    """Optimizers trust shapes: what a step leaves for each parameter tells which are right."""
    policy, optimizer = model.policy, getattr(model.policy, part)
    copies = [nn.Parameter(th.zeros_like(parameter)) for group in optimizer.param_groups for parameter in group["params"]]
    for copy in copies:
        copy.grad = th.zeros_like(copy)
    kwargs = policy.optimizer_kwargs if part == "optimizer" else {"fused": True}
    reference = type(optimizer)(copies, lr=0.0, **kwargs)
    reference.step()
    expected = {str(index): state for index, state in reference.state_dict()["state"].items()}
    for index, state in states.items():
        if index not in expected:
            raise ValueError(f"{part}.{index[:20]} belongs to no parameter of the policy")
        if state.keys() != expected[index].keys():
            raise ValueError(f"{part}.{index} has {sorted(state)[:9]}, expected {sorted(expected[index])}")
        for key, tensor in state.items():
            name = f"{part}.{index}.{key}"
            _check_tensor(name, tensor, expected[index][key])
            if not tensor.isfinite().all() or (key in _NOT_NEGATIVE and (tensor < 0).any()):
                raise ValueError(f"{name} holds numbers that are not finite, or negative where they cannot be")


def _check_tensor(name: str, given: th.Tensor, expected: th.Tensor) -> None:
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise ValueError(
            f"{name} has the shape {tuple(given.shape)} and {given.dtype}, "
            f"expected {tuple(expected.shape)} and {expected.dtype}"
        )
