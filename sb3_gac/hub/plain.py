"""
Python values as plain JSON, and back: only data and the names of known classes, never code.

What JSON does not know stands in an object with a key that starts with a dollar sign, such as ``{"$class": "torch.nn.ReLU"}``.
A class, a schedule or an action noise is known in the fields that it is for, and nowhere else.
"""

import math
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.data.space import REAL_DTYPES
from sb3_gac.gac import GAC
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MultiInputPolicy

# What a file may ask for is allocated before its size is known to be right
MAX_ELEMENTS = 2**22
MAX_DEPTH = 32
MAX_SIZE, MAX_COUNT = 10**6, 2**63 - 1
# Arguments that take no memory before what they count is there
_COUNTS = ("buffer_size", "learning_starts", "kl_warmup", "seed")

Class = TypeVar("Class", bound=type)

# What a class must be in each of the fields that hold one; `allow_class` puts a class in the first field that it is for
_KINDS: dict[str, type] = {
    "algorithm": GAC,
    "policy": LatentPlanPolicy,
    "replay_buffer_class": TrajectoryReplayBuffer,
    "optimizer_class": th.optim.Optimizer,
    "features_extractor_class": BaseFeaturesExtractor,
    "activation_fn": th.nn.Module,
}


def _allowed_classes() -> dict[str, dict[str, type]]:
    """What each field can name: classes that do nothing but compute when they are made."""
    classes: dict[str, dict[str, type]] = {field: {} for field in _KINDS}
    classes["activation_fn"] = {f"torch.nn.{name}": getattr(th.nn, name) for name in th.nn.modules.activation.__all__}
    for name, value in vars(th.optim).items():
        if isinstance(value, type) and issubclass(value, th.optim.Optimizer):
            classes["optimizer_class"][f"torch.optim.{name}"] = value
    for field, cls in [
        *(("features_extractor_class", extractor) for extractor in (FlattenExtractor, NatureCNN, CombinedExtractor)),
        *(("policy", policy) for policy in (LatentPlanPolicy, CnnPolicy, MultiInputPolicy)),
        ("algorithm", GAC),
    ]:
        classes[field][f"{cls.__module__}.{cls.__qualname__}"] = cls
    classes["replay_buffer_class"]["sb3_gac.data.TrajectoryReplayBuffer"] = TrajectoryReplayBuffer
    return classes


_CLASSES = _allowed_classes()

# Objects that are no more than their arguments: the fields that hold them, and the attribute and the type of each argument
_RATES, _NOISES = ("learning_rate", "value_schedule"), ("action_noise",)
_NOISE = {"mean": ("_mu", np.ndarray), "sigma": ("_sigma", np.ndarray), "dtype": ("_dtype", np.dtype | type)}
_OBJECTS: dict[str, tuple[type, tuple[str, ...], dict[str, tuple[str, Any]]]] = {
    "ConstantSchedule": (ConstantSchedule, _RATES, {"val": ("val", int | float)}),
    "FloatSchedule": (
        FloatSchedule,
        _RATES,
        {"value_schedule": ("value_schedule", int | float | ConstantSchedule | LinearSchedule)},
    ),
    "LinearSchedule": (LinearSchedule, _RATES, {name: (name, int | float) for name in ("start", "end", "end_fraction")}),
    "NormalActionNoise": (NormalActionNoise, _NOISES, _NOISE),
    "OrnsteinUhlenbeckActionNoise": (
        OrnsteinUhlenbeckActionNoise,
        _NOISES,
        {
            **_NOISE,
            "theta": ("_theta", int | float),
            "dt": ("_dt", int | float),
            "initial_noise": ("initial_noise", np.ndarray | None),
        },
    ),
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


def check_limits(data: Any, name: str, most: int = MAX_COUNT, depth: int = 0) -> int:
    """
    Refuse JSON that stands for more than it looks like, before any of it is made.

    :param data: What ``json.loads`` returned.
    :param name: What it is called, for the message.
    :param most: Largest whole number.
    :param depth: Containers around it.
    :return: Numbers in all its arrays.
    :raises ValueError: naming what is too large or too deep.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{name[:200]} is nested too deeply")
    if isinstance(data, int) and abs(data) > most:
        raise ValueError(f"{name} is {str(data)[:50]}, expected at most {most:,}")
    size = 0
    if isinstance(data, list):
        size = sum(check_limits(item, f"{name}[{i}]", most, depth + 1) for i, item in enumerate(data))
    elif isinstance(data, dict) and "$array" in data:
        shape = data.get("shape")
        size = math.prod(n for n in shape if isinstance(n, int)) if isinstance(shape, list) else 0
    elif isinstance(data, dict):
        for key, item in data.items():
            size += check_limits(item, f"{name}[{key[:50]!r}]", MAX_COUNT if key in _COUNTS else most, depth + 1)
    if size > MAX_ELEMENTS:
        raise ValueError(f"{name} has arrays of {size:,} numbers, expected at most {MAX_ELEMENTS:,}")
    return size


def to_plain(value: Any, name: str, field: str | None = None) -> Any:
    """
    A value as plain JSON.

    :param value: Numbers, strings, arrays, containers of such, classes allowed, schedules and action noises of SB3.
    :param name: What the value is called, for the message.
    :param field: The key that it stands under, its name by default.
    :raises ValueError: naming what JSON cannot hold.
    """
    field = name if field is None else field
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
        return [to_plain(item, f"{name}[{i}]", field) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [to_plain(item, f"{name}[{i}]", field) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        return _dict_to_plain(value, name)
    if isinstance(value, np.dtype):
        if value.name not in REAL_DTYPES:
            _refuse(value, name)
        return {"$dtype": value.name}
    if isinstance(value, type):
        return _class_to_plain(value, name, field)
    return _object_to_plain(value, name, field)


def from_plain(data: Any, name: str, field: str | None = None, depth: int = 0) -> Any:
    """
    The value that plain JSON stands for, the inverse of :func:`to_plain`.

    :param data: What ``json.loads`` returned.
    :param name: What the value is called, for the message.
    :param field: The key that it stands under, its name by default.
    :param depth: Containers around it.
    :raises ValueError: when it is not as :func:`to_plain` writes it, or names a class that is not allowed there.
    """
    field = name if field is None else field
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} is nested too deeply")
    if isinstance(data, list):
        return [from_plain(item, f"{name}[{i}]", field, depth + 1) for i, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    tags = [key for key in data if key.startswith("$")]
    if not tags:
        return {key: from_plain(item, f"{name}[{key!r}]", key, depth + 1) for key, item in data.items()}
    content = data[tags[0]]
    if tags == ["$array"]:
        return array_from_plain(data, name)
    if tags == ["$object"]:
        return _object_from_plain(data, name, field, depth)
    tags = list(data)  # the others have nothing beside them
    if tags == ["$float"] and content in ("inf", "-inf", "nan"):
        return float(content)
    if tags == ["$tuple"] and isinstance(content, list):
        return tuple(from_plain(content, name, field, depth + 1))
    if tags == ["$dtype"] and isinstance(content, str):
        return real_dtype(content, name)
    if tags == ["$class"]:
        return class_of_name(content, name, field)
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
    if not isinstance(items, list) or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{name} is not an array as it should be written")
    if not all(isinstance(item, bool | int | float | str) for item in items):
        raise ValueError(f"{name} is an array of other things than numbers")
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise ValueError(f"{name} of shape {shape} is too large: more than {MAX_ELEMENTS:,} numbers")
    try:
        dtype = real_dtype(data["dtype"], name)
        numbers = [float(item) if isinstance(item, str) else item for item in items]
        values = np.array(numbers, dtype=dtype)
        if any(value != number and number == number for value, number in zip(values.tolist(), numbers, strict=True)):
            raise ValueError("they are rounded in it")
        return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of shape {shape} and dtype {data['dtype']}: {error}") from error


def class_of_name(name: Any, where: str, field: str) -> type:
    """
    A class that is allowed in a field.

    :param name: Its name in the files.
    :param where: What it is meant for, for the message.
    :param field: The field.
    :raises ValueError: when it is not allowed there.
    """
    classes = _CLASSES.get(field, {})
    if not isinstance(name, str) or name not in classes:
        raise ValueError(
            f"{where} is the class {str(name)[:200]}, which is not on the list of those that load without trust there; if you "
            "have it and trust it, call sb3_gac.hub.allow_class with it first"
        )
    return classes[name]


def real_dtype(content: Any, name: str) -> np.dtype[Any]:
    """
    A dtype of real numbers.

    :param content: Its name.
    :param name: What it is the dtype of, for the message.
    :raises ValueError: when it is another one.
    """
    if content not in REAL_DTYPES:
        raise ValueError(f"{name} has the dtype {str(content)[:200]}, expected one of real numbers")
    dtype: np.dtype[Any] = np.dtype(content)
    return dtype


def _number(value: bool | int | float) -> bool | int | float | str:
    return value if math.isfinite(value) else str(value)


def _dict_to_plain(value: dict[Any, Any], name: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str) or key.startswith("$"):
            raise ValueError(f"{name} has the key {key!r}; the keys must be strings that do not start with $")
    return {key: to_plain(item, f"{name}[{key!r}]", key) for key, item in value.items()}


def _class_to_plain(cls: type, name: str, field: str) -> dict[str, Any]:
    if issubclass(cls, np.generic):  # such as np.float32 where a dtype is meant
        dtype: dict[str, Any] = to_plain(np.dtype(cls), name)
        return dtype
    for allowed, other in _CLASSES.get(field, {}).items():
        if other is cls:
            return {"$class": allowed}
    raise ValueError(
        f"{name} is the class {cls.__module__}.{cls.__qualname__}, which is not on the list of those that load without trust "
        "there; sb3_gac.hub.allow_class puts it there, before saving and before loading"
    )


def _object_to_plain(value: Any, name: str, field: str) -> dict[str, Any]:
    if isinstance(value, VectorizedActionNoise):  # made anew for the environments of the one who loads it
        value = value.base_noise
    # Known by its name, the RL Zoo need not be installed
    if (type(value).__module__, type(value).__name__) == ("rl_zoo3.utils", "SimpleLinearSchedule"):
        value = LinearSchedule(float(value.initial_value), 0.0, 1.0)
    for tag, (cls, holders, arguments) in _OBJECTS.items():
        if type(value) is cls and field in holders:
            plain = {
                key: to_plain(getattr(value, attribute), f"{name}.{key}", key) for key, (attribute, _) in arguments.items()
            }
            return {"$object": tag, **plain}
    if callable(value):
        raise ValueError(
            f"{name} is the function {value!r}, which plain JSON cannot hold; use a number, or LinearSchedule and "
            "ConstantSchedule of stable_baselines3.common.utils"
        )
    _refuse(value, name)


def _object_from_plain(data: dict[str, Any], name: str, field: str, depth: int) -> Any:
    tag = data["$object"]
    if (
        not isinstance(tag, str)
        or tag not in _OBJECTS
        or field not in _OBJECTS[tag][1]
        or data.keys() != {"$object", *_OBJECTS[tag][2]}
    ):
        raise ValueError(f"{name} is {str(data)[:200]}, which this version of sb3_gac cannot read there")
    cls, _, arguments = _OBJECTS[tag]
    values = {key: from_plain(data[key], f"{name}.{key}", key, depth + 1) for key in arguments}
    for key, value in values.items():
        is_number = isinstance(value, int | float) or (isinstance(value, np.ndarray) and value.ndim == 1)
        if not isinstance(value, arguments[key][1]) or (is_number and not np.isfinite(value).all()):
            raise ValueError(f"{name}.{key} is {str(data[key])[:200]}, expected {_expected(arguments[key][1])}")
    return cls(**values)


def _expected(kind: Any) -> str:
    return "a finite " + str(getattr(kind, "__name__", kind)).replace("numpy.", "")


def _refuse(value: Any, name: str) -> NoReturn:
    raise ValueError(f"{name} is of the type {type(value).__name__}, which plain JSON cannot hold: {str(value)[:200]}")
