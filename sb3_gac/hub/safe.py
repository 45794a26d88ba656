"""
Models in files that hold data only: arrays in safetensors, all else in plain JSON. Loading them runs no code of theirs.

A replay buffer, the data set and the environment are not part of a model.
"""

import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from sb3_gac.arguments import choose
from sb3_gac.atomic import lock_folder, replace_when_complete
from sb3_gac.digest import content_digest, file_digest
from sb3_gac.exploration import TargetReturn
from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.hub.normalization import check_normalization, find_normalization, keep_normalization, normalize_env
from sb3_gac.hub.plain import Arrays, check_types, class_of_name, fits, from_plain, to_plain
from sb3_gac.inference import PLANNERS, Planner
from sb3_gac.offline_env import OfflineVecEnv
from sb3_gac.policies import LatentPlanPolicy
from sb3_gac.version import __version__

MODEL_FILE, WEIGHTS_FILES = "gac.json", "model-*.safetensors"
SCHEMA_VERSION = 3
MAX_JSON_BYTES = 2**20
MAX_ENVS = 2**16

# What the one who loads decides, and what belongs to the machine
_NOT_SAVED = ("self", "policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model")
# Attributes that are named otherwise than their argument
_ATTRIBUTES = {"stats_window_size": "_stats_window_size"}
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
}
_KEYS = {
    *("format", "schema_version", "versions", "algorithm", "policy", "observation_space", "action_space", "n_envs"),
    *("arguments", "progress", "target_return", "normalization", "weights"),
}
_NETWORKS = ("policy", "credit")
# Their settings follow from the arguments, only their states are saved
_OPTIMIZERS = {"optimizer": "policy", "credit_optimizer": "credit"}
# Steps and squares
_NOT_NEGATIVE = ("step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "row_var", "col_var", "variance")

Tensors = dict[str, th.Tensor]


def save_safe(model: GAC, path: str | Path) -> Path:
    """
    Save a model in a folder that can be loaded from anyone: without a pickle, see :func:`load_safe`.

    A model that the folder holds is replaced when the new one is complete; its other files stay as they are. Learning
    rates as functions must be those of ``stable_baselines3.common.utils``; classes of yours in ``policy_kwargs`` must be
    let in by :func:`allow_class`.

    :param model: The model.
    :param path: The folder, or a link to it.
    :raises ValueError: naming the argument that plain JSON cannot hold, or the weights that are not finite.
    :raises FileExistsError: when there is something else at the path.
    """
    require("hub", "safetensors")
    folder = Path(path)
    is_new = not folder.exists()
    if not is_new and not (folder.is_dir() and (is_safe(folder) or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} is there already and is no saved model: it is not overwritten")
    description, tensors = describe(model)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_safe(description, tensors, folder)
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
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
    with lock_folder(folder):
        description = _read_description(folder / MODEL_FILE)
        tensors = _read_weights(folder, description["weights"])
    try:
        model, env, normalization = _build(description, tensors, env, device, {"verbose": verbose} | kwargs)
        for part in _NETWORKS:
            _load_networks(getattr(model, part), part, tensors)
        for part, owner in _OPTIMIZERS.items():
            _load_optimizer(getattr(model, owner).optimizer, part, tensors)
    except Exception as error:  # a file can make each of them
        raise ValueError(f"{folder} cannot be loaded: {error or type(error).__name__}") from error
    if env is not None:
        model.set_env(env)
    elif normalization is not None:
        keep_normalization(model, normalization)
    return model


def is_safe(folder: Path) -> bool:
    """
    Whether a folder holds a model saved by :func:`save_safe`.

    :param folder: The folder.
    """
    return (folder / MODEL_FILE).is_file()


def describe(model: GAC) -> tuple[dict[str, Any], Tensors]:
    """
    All of a model as plain JSON and tensors.

    :param model: The model.
    :return: The JSON, which :func:`write_safe` completes, and the tensors by their names.
    :raises ValueError: naming what they cannot hold.
    """
    if model.observation_space is None:
        raise ValueError("the model has no networks yet: it needs an environment or a data set first")
    model.keep_settings()
    arguments = {name: getattr(model, _ATTRIBUTES.get(name, name)) for name in argument_names(type(model))}
    if isinstance(arguments["train_freq"], TrainFreq):
        arguments["train_freq"] = (model.train_freq.frequency, model.train_freq.unit.value)  # type: ignore[union-attr]
    arrays: Arrays = {}
    description = {
        "format": "sb3_gac",
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "sb3_gac": __version__,
            "stable_baselines3": stable_baselines3.__version__,
            "torch": str(th.__version__),
            "numpy": np.__version__,
        },
        "algorithm": to_plain(type(model), "the class of the model", arrays, "algorithm")["$class"],
        "policy": to_plain(model.policy_class, "policy", arrays)["$class"],
        "observation_space": to_plain(model.observation_space, "observation_space", arrays),
        "action_space": to_plain(model.action_space, "action_space", arrays),
        "n_envs": model.n_envs,
        "arguments": {name: to_plain(value, name, arrays) for name, value in arguments.items()},
        "progress": {name: to_plain(getattr(model, name), name, arrays, "progress") for name in _PROGRESS},
        "target_return": to_plain(model.target_return, "target_return", arrays),
        "normalization": to_plain(find_normalization(model), "normalization", arrays),
    }
    tensors = {f"array.{name}": th.from_numpy(array.copy(order="C")) for name, array in arrays.items()}
    for part in _NETWORKS:
        tensors |= {f"{part}.{name}": tensor for name, tensor in getattr(model, part).state_dict().items()}
    for part, owner in _OPTIMIZERS.items():
        for index, state in getattr(model, owner).optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if not isinstance(value, th.Tensor):
                    raise ValueError(f"the {part} keeps {name} as {type(value).__name__}, expected a tensor")
                tensors[f"{part}.{index}.{name}"] = value
    if wrong := [name for name, tensor in tensors.items() if tensor.isnan().any()]:
        raise ValueError(f"{wrong[0]} holds numbers that are not finite: the model has diverged")
    return description, tensors


def write_safe(description: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    """
    Write the files of a model; the description comes last, and what it does not name is no part of the model any more.

    :param description: The JSON of :func:`describe`.
    :param tensors: Its tensors.
    :param folder: The folder.
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    digest = content_digest(content)
    weights = WEIGHTS_FILES.replace("*", digest[:16])
    text = json.dumps(description | {"weights": {"file": weights, "sha256": digest}}, indent=1, allow_nan=False)
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"the arguments of the model take {len(text):,} bytes, expected at most {MAX_JSON_BYTES:,}")
    with lock_folder(folder):
        try:
            for name, part in ((weights, content), (MODEL_FILE, f"{text}\n".encode())):
                with replace_when_complete(folder / name, follow_link=False) as partial:
                    partial.write_bytes(part)
        except BaseException:
            weights = _read_description(folder / MODEL_FILE)["weights"]["file"] if is_safe(folder) else ""
            raise
        finally:
            for stale in folder.glob(WEIGHTS_FILES):
                if stale.name != weights:
                    stale.unlink()


def argument_names(algorithm: type[GAC]) -> list[str]:
    """
    Constructor arguments that are saved.

    :param algorithm: Class of the model.
    """
    parameters = inspect.signature(algorithm.__init__).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.kind not in kinds and p.name not in _NOT_SAVED]


def _read_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"{file.parent} holds no model saved by save_safe: {file.name} is missing")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{file} is larger than {MAX_JSON_BYTES:,} bytes: that is no model")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(data, dict) or data.get("format") != "sb3_gac":
        raise ValueError(f"{file} is not the description of a model of sb3_gac")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{file} has schema version {str(version)[:50]}, this version of sb3_gac reads {SCHEMA_VERSION} "
            f"(saved with {str(data.get('versions'))[:200]})"
        )
    if missing := sorted(_KEYS - data.keys()):
        raise ValueError(f"{file} is damaged: {', '.join(missing)} missing")
    for key in ("arguments", "progress", "weights"):
        if not isinstance(data[key], dict):
            raise ValueError(f"{file} is damaged: {key} is no object")
    return data


def _read_weights(folder: Path, named: dict[str, Any]) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = named.get("file")
    if not isinstance(name, str) or not re.fullmatch(WEIGHTS_FILES.replace("*", "[0-9a-f]{16}"), name):
        raise ValueError(f"{folder / MODEL_FILE} is damaged: its weights are in {str(name)[:200]!r}, not in {WEIGHTS_FILES}")
    file = folder / name
    if not file.is_file():
        raise ValueError(f"{file} is missing")
    if file_digest(file) != named.get("sha256"):
        raise ValueError(f"{file} is damaged, or belongs to another {MODEL_FILE}: its digest is not the one noted there")
    try:
        tensors: Tensors = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return tensors


def _build(
    description: dict[str, Any],
    tensors: Tensors,
    env: GymEnv | None,
    device: th.device | str,
    kwargs: dict[str, Any],
) -> tuple[GAC, GymEnv | None, dict[str, Any] | None]:
    """A model with new networks, its environment, and its normalization."""
    arrays = {name.removeprefix("array."): part.numpy() for name, part in tensors.items() if name.startswith("array.")}
    algorithm = class_of_name(description["algorithm"], "algorithm", "algorithm")
    policy = class_of_name(description["policy"], "policy", "policy")
    assert issubclass(algorithm, GAC) and issubclass(policy, LatentPlanPolicy)
    known = argument_names(algorithm)
    if unknown := [name for name in description["arguments"] if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: no arguments of {algorithm.__name__} in this version of sb3_gac")
    arguments = {name: from_plain(value, name, arrays) for name, value in description["arguments"].items()}
    check_types(arguments, algorithm.__init__, GAC.__init__)
    policy_kwargs = arguments.get("policy_kwargs") or {}
    check_types(policy_kwargs, policy.__init__, LatentPlanPolicy.__init__)
    planner = choose("planner", PLANNERS, policy_kwargs.get("planner", "sampling"))
    check_types(policy_kwargs, planner.__init__, Planner.__init__)
    model = algorithm(policy, env=None, device=device, _init_setup_model=False, **(arguments | kwargs))
    model.observation_space, model.action_space = (
        _check(from_plain(description[name], name, arrays), name, spaces.Space)
        for name in ("observation_space", "action_space")
    )
    noise = model.action_noise
    if isinstance(noise, NormalActionNoise | OrnsteinUhlenbeckActionNoise):
        np.broadcast_to(noise._mu + noise._sigma, model.action_space.shape or ())  # raises where they do not fit
    model.n_envs = _check(from_plain(description["n_envs"], "n_envs", arrays), "n_envs", int)
    if not 1 <= model.n_envs <= MAX_ENVS:
        raise ValueError(f"n_envs is {model.n_envs}, expected a number from 1 to {MAX_ENVS:,}")
    normalization = from_plain(description["normalization"], "normalization", arrays)
    if normalization is not None:
        check_normalization(normalization)
        normalize_env(
            OfflineVecEnv(model.observation_space, model.action_space), normalization
        )  # raises where it does not fit
    if env is not None:
        env = _fit_env(model, env, normalization)
        model.n_envs = env.num_envs
    for name, hint in _PROGRESS.items():
        value = _check(from_plain(description["progress"][name], name, arrays, "progress"), name, hint)
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"{name} is {value}, expected finite numbers")
        setattr(model, name, value)
    target_return = from_plain(description["target_return"], "target_return", arrays)
    model.target_return = _check(target_return, "target_return", TargetReturn)
    _check_networks(model, tensors)
    model._setup_model()  # arguments that were given anew win over what was saved
    return model, env, normalization


def _check(value: Any, name: str, hint: Any) -> Any:
    if not fits(value, hint):
        raise ValueError(f"{name} is {str(value)[:200]!r}, expected {hint}")
    return value


def _fit_env(model: GAC, env: GymEnv, normalization: dict[str, Any] | None) -> VecEnv:
    if normalization is not None:
        env = normalize_env(env, normalization)
    wrapped = model._wrap_env(env, model.verbose)
    check_for_correct_spaces(wrapped, model.observation_space, model.action_space)
    normalizer = unwrap_vec_normalize(wrapped)
    if normalization is None and normalizer is not None and normalizer.norm_obs:
        raise ValueError("env has a VecNormalize, but the model was saved without one and knows the observations as they are")
    return wrapped


def _check_networks(model: GAC, tensors: Tensors) -> None:
    """Compare the networks that a file asks for with its tensors, before memory is taken for them."""
    kwargs = {**model.policy_kwargs, "optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.0}}
    with _limited_parameters(4 * len(tensors)), th.device("meta"):
        policy = model.policy_class(model.observation_space, model.action_space, lambda _: 1.0, **kwargs)
        assert isinstance(policy, LatentPlanPolicy)
        credit = model.make_credit(policy)
    networks = zip(_NETWORKS, (policy, credit), strict=True)
    expected = {f"{part}.{name}": tensor for part, module in networks for name, tensor in module.state_dict().items()}
    given = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] not in ("array", *_OPTIMIZERS)}
    if expected.keys() != given.keys():
        lacking, unknown = (sorted(a - b)[:3] for a, b in ((expected.keys(), given.keys()), (given.keys(), expected.keys())))
        raise ValueError(f"the weights lack the tensors {lacking} and have {unknown} besides")
    for name, tensor in expected.items():
        _check_tensor(name, given[name], tensor)


@contextmanager
def _limited_parameters(most: int) -> Iterator[None]:
    """Stop making modules when they have too many parameters, of whatever size."""
    n_parameters = 0

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal n_parameters
        n_parameters += 1
        if n_parameters > most:
            raise ValueError(f"the arguments ask for networks of more than {most} parameters, there are not so many tensors")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _load_networks(module: nn.Module, part: str, tensors: Tensors) -> None:
    state = module.state_dict()
    for name, fresh in state.items():
        given = tensors[f"{part}.{name}"]
        # Bounds of what was never seen are infinite from the start
        if not (given.isfinite() | (given == fresh.to(given.device))).all():
            raise ValueError(f"{part}.{name} holds numbers that are not finite")
    module.load_state_dict({name: tensors[f"{part}.{name}"] for name in state})


def _load_optimizer(optimizer: th.optim.Optimizer, part: str, tensors: Tensors) -> None:
    """Optimizers trust shapes: what a step leaves for each parameter of a new one tells which are right."""
    states: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{part}."):
            _, index, key = name.split(".", 2)
            states.setdefault(index, {})[key] = tensor
    if not states:
        return
    groups = [{**group, "lr": 0.0, "params": [_like(p) for p in group["params"]]} for group in optimizer.param_groups]
    reference = type(optimizer)(groups)  # type: ignore[call-arg]  # those of PyTorch know their defaults
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
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {int(index): state for index, state in states.items()}})


def _like(parameter: th.Tensor) -> nn.Parameter:
    copy = nn.Parameter(th.zeros_like(parameter))
    copy.grad = th.zeros_like(copy)
    return copy


def _check_tensor(name: str, given: th.Tensor, expected: th.Tensor) -> None:
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise ValueError(
            f"{name} has the shape {tuple(given.shape)} and {given.dtype}, "
            f"expected {tuple(expected.shape)} and {expected.dtype}"
        )
