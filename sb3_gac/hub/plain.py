"""
Python values as plain JSON, and back: only data and the names of known classes, never code.

What JSON does not know stands in an object with a key that starts with a dollar sign, such as ``{"$class": "torch.nn.ReLU"}``.
"""

import math
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_gac import networks
from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.gac import GAC
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MultiInputPolicy

# What a file may ask for is allocated before its size is known to be right
MAX_ELEMENTS = 10**8
MAX_DEPTH = 32

Class = TypeVar("Class", bound=type)


def _allowed_classes() -> dict[str, type]:
    """What can be named in a file: classes that do nothing but compute when they are made."""
    classes: dict[str, type] = {f"torch.nn.{name}": getattr(th.nn, name) for name in th.nn.modules.activation.__all__}
    for name, value in vars(th.optim).items():
        if isinstance(value, type) and issubclass(value, th.optim.Optimizer):
            classes[f"torch.optim.{name}"] = value
    for name in networks.__all__:
        classes[f"sb3_gac.networks.{name}"] = getattr(networks, name)
    for cls in (FlattenExtractor, NatureCNN, CombinedExtractor, LatentPlanPolicy, CnnPolicy, MultiInputPolicy, GAC):
        classes[f"{cls.__module__}.{cls.__qualname__}"] = cls
    classes["sb3_gac.data.TrajectoryReplayBuffer"] = TrajectoryReplayBuffer
    return classes


_CLASSES = _allowed_classes()

# Objects that are no more than their arguments: the attribute that holds each
_OBJECTS: dict[str, tuple[type, dict[str, str]]] = {
    "ConstantSchedule": (ConstantSchedule, {"val": "val"}),
    "FloatSchedule": (FloatSchedule, {"value_schedule": "value_schedule"}),
    "LinearSchedule": (LinearSchedule, {"start": "start", "end": "end", "end_fraction": "end_fraction"}),
    "NormalActionNoise": (NormalActionNoise, {"mean": "_mu", "sigma": "_sigma", "dtype": "_dtype"}),
    "OrnsteinUhlenbeckActionNoise": (
        OrnsteinUhlenbeckActionNoise,
        {
            "mean": "_mu",
            "sigma": "_sigma",
            "theta": "_theta",
            "dt": "_dt",
            "initial_noise": "initial_noise",
            "dtype": "_dtype",
        },
    ),
}


def allow_class(cls: Class) -> Class:
    """
    Let files name a class of yours, such as a features extractor: call it before saving, and before loading.

    :param cls: The class, which can be imported; it is returned, so that this is a decorator too.
    :raises ValueError: when it stands inside a function, where no name leads to it.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    if "<locals>" in name:
        raise ValueError(f"{name} cannot be named in a file: define it at the top of a module")
    _CLASSES[name] = cls
    return cls


def to_plain(value: Any, name: str) -> Any:
    """
    A value as plain JSON.

    :param value: Numbers, strings, arrays, containers of such, classes allowed, schedules and action noises of SB3.
    :param name: What the value is called, for the message.
    :raises ValueError: naming what JSON cannot hold.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, np.ndarray):
        return array_to_plain(value, name)
    if isinstance(value, list):
        return [to_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [to_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, dict):
        return _dict_to_plain(value, name)
    if isinstance(value, np.dtype):
        if value.kind not in "biuf":
            _refuse(value, name)
        return {"$dtype": value.name}
    if isinstance(value, type):
        return _class_to_plain(value, name)
    return _object_to_plain(value, name)


def from_plain(data: Any, name: str, depth: int = 0) -> Any:
    """
    The value that plain JSON stands for, the inverse of :func:`to_plain`.

    :param data: What ``json.loads`` returned.
    :param name: What the value is called, for the message.
    :param depth: Containers around it.
    :raises ValueError: when it is not as :func:`to_plain` writes it, or names a class that is not allowed.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} is nested too deeply")
    if isinstance(data, list):
        return [from_plain(item, f"{name}[{i}]", depth + 1) for i, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    tags = [key for key in data if key.startswith("$")]
    if not tags:
        return {key: from_plain(item, f"{name}[{key!r}]", depth + 1) for key, item in data.items()}
    content = data[tags[0]]
    if tags == ["$array"]:
        return array_from_plain(data, name)
    if tags == ["$object"]:
        return _object_from_plain(data, name, depth)
    tags = list(data)  # the others have nothing beside them
    if tags == ["$float"] and content in ("inf", "-inf", "nan"):
        return float(content)
    if tags == ["$tuple"] and isinstance(content, list):
        return tuple(from_plain(content, name, depth + 1))
    if tags == ["$dtype"] and isinstance(content, str):
        return _dtype(content, name)
    if tags == ["$class"]:
        return class_of_name(content, name)
    raise ValueError(f"{name} is {str(data)[:200]}, which this version of sb3_gac cannot read")


def array_to_plain(array: np.ndarray, name: str) -> dict[str, Any]:
    """
    An array of numbers as JSON, exactly; one number stands for an array of equal ones.

    :param array: The array, of any shape.
    :param name: What it is called, for the message.
    :raises ValueError: when it does not hold real numbers of at most 64 bits.
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        _refuse(array, name)
    values = array.ravel()
    # A zero may have a sign, which a comparison would not see
    is_constant = len(values) > 1 and len(np.unique(values.view(f"V{values.itemsize}"))) == 1
    items = [_number(value) for value in (values[:1] if is_constant else values).tolist()]
    return {"$array": items, "shape": list(array.shape), "dtype": array.dtype.name}


def array_from_plain(data: Any, name: str) -> np.ndarray:
    """
    The array that JSON stands for, the inverse of :func:`array_to_plain`.

    :param data: What ``json.loads`` returned.
    :param name: What the array is called, for the message.
    :raises ValueError: when the JSON is not as :func:`array_to_plain` writes it.
    """
    if not isinstance(data, dict) or data.keys() != {"$array", "shape", "dtype"}:
        raise ValueError(f"{name} must be an array, not {str(data)[:200]}")
    items, shape = data["$array"], data["shape"]
    if not isinstance(items, list) or not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"{name} is not an array as it should be written")
    if not all(isinstance(item, bool | int | float | str) for item in items):
        raise ValueError(f"{name} is an array of other things than numbers")
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise ValueError(f"{name} of shape {shape} is too large: more than {MAX_ELEMENTS:,} numbers")
    try:
        dtype = _dtype(data["dtype"], name)
        values = np.array([float(item) if isinstance(item, str) else item for item in items], dtype=dtype)
        return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of shape {shape} and dtype {data['dtype']}: {error}") from error


def class_of_name(name: Any, where: str) -> type:
    """
    An allowed class.

    :param name: Its name in the files.
    :param where: What it is meant for, for the message.
    :raises ValueError: when it is not allowed.
    """
    if not isinstance(name, str) or name not in _CLASSES:
        raise ValueError(
            f"{where} is the class {name}, which is not on the list of those that load without trust; if you have it and "
            "trust it, call sb3_gac.hub.allow_class with it first"
        )
    return _CLASSES[name]


def _number(value: bool | int | float) -> bool | int | float | str:
    return value if math.isfinite(value) else str(value)


def _dtype(content: Any, name: str) -> np.dtype[Any]:
    dtype = np.dtype(content) if isinstance(content, str) else np.dtype(object)
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} has the dtype {content}, expected one of real numbers")
    return dtype


def _dict_to_plain(value: dict[Any, Any], name: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str) or key.startswith("$"):
            raise ValueError(f"{name} has the key {key!r}; the keys must be strings that do not start with $")
    return {key: to_plain(item, f"{name}[{key!r}]") for key, item in value.items()}


def _class_to_plain(cls: type, name: str) -> dict[str, Any]:
    if issubclass(cls, np.generic):  # such as np.float32 where a dtype is meant
        dtype: dict[str, Any] = to_plain(np.dtype(cls), name)
        return dtype
    for allowed, other in _CLASSES.items():
        if other is cls:
            return {"$class": allowed}
    raise ValueError(
        f"{name} is the class {cls.__module__}.{cls.__qualname__}, which is not on the list of those that load without trust; "
        "sb3_gac.hub.allow_class puts it there, before saving and before loading"
    )


def _object_to_plain(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, VectorizedActionNoise):  # made anew for the environments of the one who loads it
        value = value.base_noise
    # Known by its name, the RL Zoo need not be installed
    if (type(value).__module__, type(value).__name__) == ("rl_zoo3.utils", "SimpleLinearSchedule"):
        value = LinearSchedule(float(value.initial_value), 0.0, 1.0)
    for tag, (cls, attributes) in _OBJECTS.items():
        if type(value) is cls:
            plain = {key: to_plain(getattr(value, attribute), f"{name}.{key}") for key, attribute in attributes.items()}
            return {"$object": tag, **plain}
    if callable(value):
        raise ValueError(
            f"{name} is the function {value!r}, which plain JSON cannot hold; use a number, or LinearSchedule and "
            "ConstantSchedule of stable_baselines3.common.utils"
        )
    _refuse(value, name)


def _object_from_plain(data: dict[str, Any], name: str, depth: int) -> Any:
    tag = data["$object"]
    if not isinstance(tag, str) or tag not in _OBJECTS or data.keys() != {"$object", *_OBJECTS[tag][1]}:
        raise ValueError(f"{name} is {str(data)[:200]}, which this version of sb3_gac cannot read")
    cls, attributes = _OBJECTS[tag]
    return cls(**{key: from_plain(data[key], f"{name}.{key}", depth + 1) for key in attributes})


def _refuse(value: Any, name: str) -> NoReturn:
    raise ValueError(f"{name} is of the type {type(value).__name__}, which plain JSON cannot hold: {str(value)[:200]}")
