"""
Python values as plain JSON and arrays, and back: only data and the names of known things, never code.

What JSON does not know stands in an object with a key that starts with a dollar sign, such as ``{"$class": "torch.nn.ReLU"}``.
A class, a schedule or a space is known in the fields that it is for, and nowhere else. Arrays stand beside the JSON, by name.
"""

import inspect
import math
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import LinearSchedule

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import REAL_DTYPES
from sb3_gac.exploration import TargetReturn
from sb3_gac.gac import GAC
from sb3_gac.hub.normalization import Normalization
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MultiInputPolicy
from sb3_gac.type_aliases import Array

Arrays = dict[str, Array]
Class = TypeVar("Class", bound=type)

# Memory may be taken for a number before it is compared with anything; those of these fields take none
MAX_NUMBER, MAX_COUNT = 10**6, 2**63 - 1
_COUNTS = ("buffer_size", "learning_starts", "seed", "progress")
# Fields that hold dicts, with any keys, of what they hold themselves
_OF_ONE_KIND = ("spaces", "obs_rms", "progress")

# What a class must be in each of the fields that hold one; `allow_class` puts a class in the first field that it is for
_KINDS: dict[str, type] = {
    "algorithm": GAC,
    "policy": LatentPlanPolicy,
    "replay_buffer_class": TrajectoryReplayBuffer,
    "optimizer_class": th.optim.Optimizer,
    "features_extractor_class": BaseFeaturesExtractor,
    "activation_fn": th.nn.Module,
}


def _named(module: str, *classes: type) -> dict[str, type]:
    return {f"{module}.{cls.__name__}": cls for cls in classes}


# What each field can name: classes that do nothing but compute when they are made
_CLASSES = {
    "algorithm": _named("sb3_gac.gac", GAC),
    "policy": _named("sb3_gac.policies", LatentPlanPolicy, CnnPolicy, MultiInputPolicy),
    "replay_buffer_class": _named("sb3_gac.data.buffer", TrajectoryReplayBuffer),
    "optimizer_class": _named("torch.optim", *filter(inspect.isclass, vars(th.optim).values())),
    "features_extractor_class": _named("stable_baselines3", FlattenExtractor, NatureCNN, CombinedExtractor),
    "activation_fn": _named("torch.nn", *(getattr(th.nn, name) for name in th.nn.modules.activation.__all__)),
}


def allow_class(cls: Class) -> Class:
    """
    Let files name a class of yours, such as a features extractor: call it before saving, and before loading.

    Loading makes it twice, first on PyTorch's meta device: the sizes that a file asks for are compared before memory is taken.

    :param cls: The class, which can be imported: a features extractor, an activation, an optimizer, a policy, a replay buffer
        or an algorithm, which files can then name as such. It is returned, so that this is a decorator too.
    :raises ValueError: when it stands inside a function, where no name leads to it, or is none of these.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    if "<locals>" in name:
        raise ValueError(f"{name} cannot be named in a file: define it at the top of a module")
    for field, kind in _KINDS.items():
        if issubclass(cls, kind):
            _CLASSES[field][name] = cls
            return cls
    raise ValueError(f"{name} cannot be named in a file: it is none of {', '.join(k.__name__ for k in _KINDS.values())}")


class _Object(NamedTuple):
    """What is no more than its arguments."""

    cls: type
    holders: tuple[str, ...]  # the fields that hold it
    hints: dict[str, Any]  # types of its arguments
    attributes: dict[str, str] = {}  # noqa: RUF012  # those named otherwise than their argument; never changed
    make: Callable[..., Any] | None = None  # makes it of its arguments, where the class does not


def _make_discrete(n: int, dtype: np.dtype[Any]) -> Any:
    # Gymnasium has had another dtype since 1.1 only
    return spaces.Discrete(n) if dtype == np.int64 else spaces.Discrete(n, dtype=dtype)


def _make_statistics(mean: Array | float, var: Array | float, count: float) -> RunningMeanStd:
    mean, var = np.asarray(mean), np.asarray(var)  # those of returns are numbers
    if mean.shape != var.shape or (var < 0).any() or count < 0:
        raise ValueError("mean and var must be of one shape, var and count not negative")
    statistics = RunningMeanStd(shape=mean.shape)
    statistics.mean, statistics.var, statistics.count = mean, var, float(count)
    return statistics


_SPACES = ("observation_space", "action_space", "spaces")
_PARTS = {"spaces": dict[str, spaces.Space]}  # type: ignore[type-arg]
_NOISE = {"mean": np.ndarray, "sigma": np.ndarray, "dtype": np.dtype}
_WALK = {"theta": float, "dt": float, "initial_noise": np.ndarray | None}
_UNDERLINED = {"mean": "_mu", "sigma": "_sigma", "dtype": "_dtype", "theta": "_theta", "dt": "_dt"}
_STATISTICS = {"mean": np.ndarray | float, "var": np.ndarray | float, "count": float}
_OBJECTS = {
    known.cls.__name__: known
    for known in (
        _Object(LinearSchedule, ("learning_rate",), {"start": float, "end": float, "end_fraction": float}),
        _Object(NormalActionNoise, ("action_noise",), _NOISE, _UNDERLINED),
        _Object(OrnsteinUhlenbeckActionNoise, ("action_noise",), _NOISE | _WALK, _UNDERLINED),
        # Values of spaces that start elsewhere than at 0 are not learnt from
        _Object(spaces.Box, _SPACES, {"low": np.ndarray, "high": np.ndarray, "dtype": np.dtype}),
        _Object(spaces.Discrete, _SPACES, {"n": int, "dtype": np.dtype}, make=_make_discrete),
        _Object(spaces.MultiDiscrete, _SPACES, {"nvec": np.ndarray, "dtype": np.dtype}),
        _Object(spaces.MultiBinary, _SPACES, {"n": int | tuple[int, ...]}),
        _Object(spaces.Dict, _SPACES, _PARTS, make=lambda spaces: gym.spaces.Dict(OrderedDict(spaces))),  # others are sorted
        _Object(RunningMeanStd, ("obs_rms", "ret_rms"), _STATISTICS, make=_make_statistics),
        _Object(Normalization, ("normalization",), inspect.get_annotations(Normalization)),
        _Object(TargetReturn, ("target_return",), inspect.get_annotations(TargetReturn)),
    )
}


def to_plain(value: Any, name: str, arrays: Arrays, field: str = "") -> Any:
    """
    A value as plain JSON.

    :param value: Numbers, strings, arrays, containers of such, classes allowed, schedules, action noises and spaces.
    :param name: What the value is called, for the message.
    :param arrays: Where arrays are put, by their names.
    :param field: The key that it stands under.
    :raises ValueError: naming what JSON cannot hold.
    """
    if isinstance(value, np.number):
        value = value.item()
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or (isinstance(value, bool | int | float | str) and not is_nan):
        return value
    if isinstance(value, np.ndarray) and value.dtype.name in REAL_DTYPES:
        arrays[name] = value
        return {"$array": name}
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str) or key.startswith("$")]:
            raise ValueError(f"{name} has the key {wrong[0]!r}; the keys must be strings that do not start with $")
        return {
            key: to_plain(item, f"{name}[{key!r}]", arrays, field if field in _OF_ONE_KIND else key)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        items = [to_plain(item, f"{name}[{i}]", arrays, field) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        if np.dtype(value).name in REAL_DTYPES:
            return {"$dtype": np.dtype(value).name}
    elif isinstance(value, type):
        for allowed, cls in _CLASSES.get(field, {}).items():
            if cls is value:
                return {"$class": allowed}
        raise _not_allowed(name, f"{value.__module__}.{value.__qualname__}")
    return _object_to_plain(value, name, arrays, field)


def from_plain(data: Any, name: str, arrays: Mapping[str, Array], field: str = "") -> Any:
    """
    The value that plain JSON stands for, the inverse of :func:`to_plain`.

    :param data: What ``json.loads`` returned.
    :param name: What the value is called, for the message.
    :param arrays: The arrays, by their names.
    :param field: The key that it stands under.
    :raises ValueError: when it is not as :func:`to_plain` writes it, or names what is not allowed there.
    """
    if isinstance(data, int) and abs(data) > (most := MAX_COUNT if field in _COUNTS else MAX_NUMBER):
        raise ValueError(f"{name} is {str(data)[:50]}, expected at most {most:,}")
    if isinstance(data, float) and math.isnan(data):
        raise ValueError(f"{name} is not a number")
    if isinstance(data, list):
        return [from_plain(item, f"{name}[{i}]", arrays, field) for i, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    if not any(key.startswith("$") for key in data):
        return {
            key: from_plain(item, f"{name}[{key!r}]", arrays, field if field in _OF_ONE_KIND else key)
            for key, item in data.items()
        }
    tag, content = next(iter(data.items()))
    if tag == "$object" and isinstance(content, str):
        return _object_from_plain(data, name, arrays, field)
    if len(data) == 1:  # the others have nothing beside them
        if tag == "$array" and content == name and name in arrays:
            return arrays[name]
        if tag == "$tuple" and isinstance(content, list):
            return tuple(from_plain(content, name, arrays, field))
        if tag == "$dtype" and isinstance(content, str) and content in REAL_DTYPES:
            return np.dtype(content)
        if tag == "$class":
            known = _CLASSES.get(field, {}).get(str(content))
            if known is None:
                raise _not_allowed(name, content)
            return known
    raise ValueError(f"{name} is {str(data)[:200]}, which this version of sb3_gac cannot read")


def _not_allowed(name: str, cls: Any) -> ValueError:
    return ValueError(
        f"{name} is the class {str(cls)[:200]}, which is not on the list of those that load without trust there; if it is "
        "yours or you trust it, call sb3_gac.hub.allow_class with it before saving and before loading"
    )


def _object_to_plain(value: Any, name: str, arrays: Arrays, field: str) -> dict[str, Any]:
    if isinstance(value, VectorizedActionNoise):  # made anew for the environments of the one who loads it
        value = value.base_noise
    # Known by its name, the RL Zoo need not be installed
    if (type(value).__module__, type(value).__name__) == ("rl_zoo3.utils", "SimpleLinearSchedule"):
        value = LinearSchedule(float(value.initial_value), 0.0, 1.0)
    known = _OBJECTS.get(type(value).__name__)
    if known is not None and type(value) is known.cls and field in known.holders:
        parts = {key: getattr(value, known.attributes.get(key, key)) for key in known.hints}
        plain = {key: to_plain(part, f"{name}.{key}", arrays, key) for key, part in parts.items()}
        return {"$object": known.cls.__name__, **plain}
    if isinstance(value, spaces.Space):
        raise ValueError(f"{name} is the space {value}, expected Box, Discrete, MultiDiscrete, MultiBinary or a Dict of them")
    if callable(value):
        raise ValueError(
            f"{name} is the function {value!r}, which plain JSON cannot hold; use a number, or LinearSchedule of "
            "stable_baselines3.common.utils"
        )
    raise ValueError(f"{name} is of the type {type(value).__name__}, which plain JSON cannot hold: {str(value)[:200]}")


def _object_from_plain(data: dict[str, Any], name: str, arrays: Mapping[str, Array], field: str) -> Any:
    known = _OBJECTS.get(data["$object"])
    if known is None or field not in known.holders or data.keys() != {"$object", *known.hints}:
        raise ValueError(f"{name} is {str(data)[:200]}, which this version of sb3_gac cannot read there")
    values = {key: from_plain(data[key], f"{name}.{key}", arrays, key) for key in known.hints}
    check_types(values, known.hints, name)
    try:
        return (known.make or known.cls)(**values)
    except Exception as error:  # Gymnasium raises what it likes
        raise ValueError(f"{name} is no {data['$object']}: {error}") from error


def check_types(values: Mapping[str, Any], hints: Mapping[str, Any], name: str) -> None:
    """
    Refuse values of other types than those expected.

    :param values: Values by their names.
    :param hints: Types by the names of the values; values that have none are left alone.
    :param name: What the values are called together, for the message.
    :raises ValueError: naming the value, and its type.
    """
    for key, value in values.items():
        if key in hints and not _fits(value, hints[key]):
            raise ValueError(f"{name}.{key} is {str(value)[:200]!r}, expected {hints[key]}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; a tuple will do for a list, a whole number for a real one; anything fits a string."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, str):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if origin is type:
        return isinstance(value, type) and issubclass(value, inner[0])
    if origin is list or inner[1:] == (...,):
        return isinstance(value, list | tuple) and all(_fits(item, inner[0]) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if origin not in (None, np.dtype):  # a function
        return callable(value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return value is None if hint is None else isinstance(value, origin or hint)
