"""
A model in a safetensors file: its arrays, and all else as plain JSON in the header. Loading it runs no code of the file.

A replay buffer, the data set and the environment are not part of a model.
"""

import hashlib
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import stable_baselines3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from stable_baselines3.common.vec_env import unwrap_vec_normalize
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from sb3_gac.arguments import choose
from sb3_gac.atomic import replace_when_complete
from sb3_gac.exploration import TargetReturn
from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.normalization import Normalization, find_normalization, fit_env
from sb3_gac.hub.plain import Arrays, check_types, from_plain, to_plain
from sb3_gac.inference import PLANNERS, Planner
from sb3_gac.policies import LatentPlanPolicy
from sb3_gac.version import __version__

SUFFIX = ".safetensors"
FORMAT = "sb3_gac model 3"
MAX_JSON_BYTES = 2**16  # thirty times what the arguments of a model take

# What the one who loads decides, and what belongs to the machine
_NOT_SAVED = ("self", "policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model")
# Where learning stands
_PROGRESS: dict[str, Any] = {
    "num_timesteps": int,
    "_total_timesteps": int,
    "_num_timesteps_at_start": int,
    "_current_progress_remaining": float,
    "_episode_num": int,
    "_n_updates": int,
    "_n_offline_updates": int,
    "_log_kl_coef": float,
    "_known_steps": list[int],
    "_sees_normalized": bool,
    "_credited_steps": int | None,
    "_is_informed": bool,
    "_n_informed_episodes": int,
}
_DESCRIPTION: dict[str, Any] = {
    "versions": dict[str, str],
    "algorithm": type[GAC],
    "policy": type[LatentPlanPolicy],
    "observation_space": spaces.Space,
    "action_space": spaces.Space,
    "arguments": dict[str, Any],
    "progress": dict[str, Any],
    "target_return": TargetReturn,
    "normalization": Normalization | None,
}
_NETWORKS = ("policy", "credit")
# Of the networks; their settings follow from the arguments, only their states are saved
_OPTIMIZERS = {"optimizer": "policy", "credit_optimizer": "credit"}

Tensors = dict[str, th.Tensor]


def save_safe(model: GAC, path: str | Path) -> Path:
    """
    Save a model in a file that can be loaded from anyone: without a pickle, see :func:`load_safe`.

    A file that is there is replaced when the new one is complete. A learning rate is a number or a ``LinearSchedule`` of SB3;
    classes of yours in ``policy_kwargs`` must be let in by :func:`allow_class`.

    :param model: The model.
    :param path: The file, or a link to it; ``.safetensors`` is added where it is missing.
    :return: The file.
    :raises ValueError: naming the argument that plain JSON cannot hold, or the weights that are not numbers.
    """
    require("hub", "safetensors")
    from safetensors.torch import save_file

    file = _with_suffix(path)
    description, tensors = describe(model)
    text = json.dumps(description)
    _check_content(text, tensors)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(file) as partial:
        save_file(tensors, partial, {"format": FORMAT, "description": text, "sha256": _digest(text, tensors)})
    return file


def load_safe(
    path: str | Path, env: GymEnv | None = None, device: th.device | str = "auto", verbose: int = 0, **kwargs: Any
) -> GAC:
    """
    Load a model that :func:`save_safe` has written; no pickle is read, and no code of the file runs.

    :param path: The file, with or without its suffix.
    :param env: Environment to act and learn in, which must have the same spaces. When the model was saved with a
        ``VecNormalize``, its statistics come back: into that of ``env``, or into one that is put around it and changes no
        more; ``model.get_env()`` is the normalised environment.
    :param device: PyTorch device.
    :param verbose: 0 for no output, 1 for information, 2 for debugging.
    :param kwargs: Constructor arguments that replace those saved.
    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when the file is damaged, was made by another version, asks for more than its tensors are of, or does
        not fit the environment.
    """
    require("hub", "safetensors")
    file = _with_suffix(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        description, tensors = _read(file)
        model = _build(description, tensors, env, device, {"verbose": verbose} | kwargs)
    except Exception as error:  # a file can make each of them
        raise ValueError(f"{file} cannot be loaded: {error or type(error).__name__}") from error
    if env is None and model.get_vec_normalize_env() is not None:
        warnings.warn(
            "the model saw observations normalised by VecNormalize: load it with env=..., and give predict() the "
            "observations of model.get_env()",
            stacklevel=2,
        )
    return model


def describe(model: GAC) -> tuple[dict[str, Any], Tensors]:
    """
    All of a model as plain JSON and tensors.

    :param model: The model.
    :return: The JSON, and the tensors by their names.
    :raises ValueError: naming what they cannot hold.
    """
    if model.observation_space is None:
        raise ValueError("the model has no networks yet: it needs an environment or a data set first")
    model.keep_settings()
    names = _argument_names(type(model))
    arguments = {name: getattr(model, "_stats_window_size" if name == "stats_window_size" else name) for name in names}
    if isinstance(arguments["train_freq"], TrainFreq):
        arguments["train_freq"] = (model.train_freq.frequency, model.train_freq.unit.value)  # type: ignore[union-attr]
    values = {
        "versions": {"sb3_gac": __version__, "stable_baselines3": stable_baselines3.__version__, "torch": str(th.__version__)},
        "algorithm": type(model),
        "policy": model.policy_class,
        "observation_space": model.observation_space,
        "action_space": model.action_space,
        "arguments": arguments,
        "progress": {name: getattr(model, name) for name in _PROGRESS},
        "target_return": model.target_return,
        "normalization": find_normalization(model),
    }
    arrays: Arrays = {}
    description = to_plain(values, "model", arrays)
    tensors = {f"array.{name}": th.from_numpy(array.copy(order="C")) for name, array in arrays.items()}
    for part in _NETWORKS:
        tensors |= {f"{part}.{name}": tensor for name, tensor in getattr(model, part).state_dict().items()}
    for part, owner in _OPTIMIZERS.items():
        for index, state in getattr(model, owner).optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if not isinstance(value, th.Tensor):
                    raise ValueError(f"the {part} keeps {name} as {type(value).__name__}, expected a tensor")
                tensors[f"{part}.{index}.{name}"] = value
    return description, {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _with_suffix(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(f"{path.name}{SUFFIX}")


def _argument_names(algorithm: type[GAC]) -> list[str]:
    """Constructor arguments that are saved."""
    parameters = inspect.signature(algorithm.__init__).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.kind not in kinds and p.name not in _NOT_SAVED]


def _check_content(text: str, tensors: Tensors) -> None:
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"the arguments take {len(text):,} bytes, expected at most {MAX_JSON_BYTES:,}")
    # Infinite are bounds of what was never seen
    if wrong := [name for name, tensor in tensors.items() if tensor.isnan().any()]:
        raise ValueError(f"{wrong[0]} holds what is not a number: the model has diverged")


def _digest(text: str, tensors: Tensors) -> str:
    """SHA-256 of the JSON and the tensors of a file."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(th.uint8).numpy().data)
    return digest.hexdigest()


def _read(file: Path) -> tuple[dict[str, Any], Tensors]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except SafetensorError as error:
        raise ValueError(f"it is damaged: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {str(metadata.get('format'))[:50]!r}, expected {FORMAT!r}: save_safe writes that")
    text = metadata.get("description", "")
    if metadata.get("sha256") != _digest(text, tensors):
        raise ValueError("it is damaged: its digest is not the one noted in it")
    _check_content(text, tensors)
    return json.loads(text), tensors


def _build(description: Any, tensors: Tensors, env: GymEnv | None, device: th.device | str, kwargs: dict[str, Any]) -> GAC:
    parts: dict[str, Tensors] = {part: {} for part in ("array", *_NETWORKS, *_OPTIMIZERS)}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{name} is no tensor of a model")
        parts[part][rest] = tensor
    values = from_plain(description, "model", {name: tensor.numpy() for name, tensor in parts["array"].items()})
    _check_complete(values, _DESCRIPTION, "model")
    _check_complete(values["progress"], _PROGRESS, "progress")
    algorithm, policy, arguments = values["algorithm"], values["policy"], values["arguments"]
    if unknown := arguments.keys() - _argument_names(algorithm):
        raise ValueError(f"{', '.join(sorted(unknown))}: no arguments of {algorithm.__name__} in this version of sb3_gac")
    check_types(arguments, _hints(GAC, algorithm), "arguments")
    policy_kwargs = arguments.get("policy_kwargs") or {}
    planner = choose("planner", PLANNERS, policy_kwargs.get("planner", "sampling"))
    check_types(policy_kwargs, _hints(LatentPlanPolicy, policy, Planner, planner), "policy_kwargs")

    model: GAC = algorithm(policy, env=None, device=device, _init_setup_model=False, **(arguments | kwargs))
    restored = {name: values[name] for name in ("observation_space", "action_space", "target_return")}
    for name, value in (restored | values["progress"]).items():
        setattr(model, name, value)
    vec_env = fit_env(model, env, values["normalization"])
    model.n_envs, model._vec_normalize_env = vec_env.num_envs, unwrap_vec_normalize(vec_env)
    _check_networks(model, parts["policy"], parts["credit"])
    model._setup_model()  # arguments that were given anew win over what was saved
    for part, owner in _OPTIMIZERS.items():
        _load_optimizer(getattr(model, owner).optimizer, part, parts[part])
    for part in _NETWORKS:
        getattr(model, part).load_state_dict(parts[part])
    if env is not None:
        model.set_env(vec_env)
    return model


def _hints(*classes: type) -> dict[str, Any]:
    """Types of the arguments of constructors, of which the last wins."""
    return {name: hint for cls in classes for name, hint in inspect.get_annotations(cls.__init__).items()}  # type: ignore[misc]


def _check_complete(values: Any, hints: dict[str, Any], name: str) -> None:
    if not isinstance(values, dict) or values.keys() != hints.keys():
        raise ValueError(f"{name} is {str(values)[:200]}, expected {', '.join(hints)}")
    check_types(values, hints, name)


def _check_networks(model: GAC, weights: Tensors, credit_weights: Tensors) -> None:
    """Compare the networks that a file asks for with its tensors, before memory is taken for them."""
    names: list[str] = []
    most = 4 * (len(weights) + len(credit_weights))

    def limit(module: nn.Module, name: str, parameter: Any) -> None:
        names.append(name)
        if len(names) > most:
            raise ValueError(f"the arguments ask for more than {most} parameters, there are not so many tensors")

    kwargs = {**model.policy_kwargs, "optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.0}}
    hook = register_module_parameter_registration_hook(limit)
    try:
        with th.device("meta"):
            policy = model.policy_class(model.observation_space, model.action_space, lambda _: 1.0, **kwargs)
            assert isinstance(policy, LatentPlanPolicy)
            credit = model.make_credit(policy)
    finally:
        hook.remove()
    policy.load_state_dict(weights, assign=True)
    credit.load_state_dict(credit_weights, assign=True)


def _load_optimizer(optimizer: th.optim.Optimizer, part: str, tensors: Tensors) -> None:
    """Optimizers trust shapes: what a first step leaves tells which are right. The weights are loaded afterwards."""
    states: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        states.setdefault(index, {})[key] = tensor
    if not states:
        return
    for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
        parameter.grad = th.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    expected = {str(index): _layout(state) for index, state in optimizer.state_dict()["state"].items()}
    for index, state in states.items():
        if _layout(state) != expected.get(index):
            raise ValueError(f"{part}.{index[:20]} has {_layout(state)}, expected {expected.get(index)}")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {int(index): state for index, state in states.items()}})


def _layout(state: Tensors) -> dict[str, Any]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
