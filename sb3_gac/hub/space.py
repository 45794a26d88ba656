"""Spaces of observations and actions as plain JSON."""

from collections import OrderedDict
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_gac.hub.plain import MAX_DEPTH, array_from_plain, array_to_plain, real_dtype

_KEYS = {
    "Box": {"low", "high"},
    "Discrete": {"n", "start", "dtype"},
    "MultiDiscrete": {"nvec", "start"},
    "MultiBinary": {"shape"},
    "Dict": {"spaces"},
}


def space_to_plain(space: spaces.Space[Any], name: str) -> dict[str, Any]:
    """
    A space as plain JSON; the state of its random numbers is not part of it.

    :param space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of them.
    :param name: What it is called, for the message.
    :raises ValueError: when it is another type of space.
    """
    if type(space) is spaces.Box:
        return {
            "space": "Box",
            "low": array_to_plain(space.low, f"{name}.low"),
            "high": array_to_plain(space.high, f"{name}.high"),
        }
    if type(space) is spaces.Discrete:
        return {"space": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": space.dtype.name}
    if type(space) is spaces.MultiDiscrete:
        return {
            "space": "MultiDiscrete",
            "nvec": array_to_plain(space.nvec, f"{name}.nvec"),
            "start": array_to_plain(space.start, f"{name}.start"),
        }
    if type(space) is spaces.MultiBinary:
        shape = [int(size) for size in space.shape]
        return {"space": "MultiBinary", "shape": shape[0] if isinstance(space.n, int | np.integer) else shape}
    if type(space) is spaces.Dict:
        # Pairs, because the order matters: features are concatenated in it
        pairs = [[key, space_to_plain(part, f"{name}[{key!r}]")] for key, part in space.spaces.items()]
        return {"space": "Dict", "spaces": pairs}
    raise ValueError(f"{name} is the space {space}, expected Box, Discrete, MultiDiscrete, MultiBinary or a Dict of them")


def space_from_plain(data: Any, name: str, depth: int = 0) -> spaces.Space[Any]:
    """
    The space that JSON stands for, the inverse of :func:`space_to_plain`.

    :param data: What ``json.loads`` returned.
    :param name: What the space is called, for the message.
    :param depth: Dict spaces around it.
    :raises ValueError: when the JSON is not as :func:`space_to_plain` writes it.
    """
    kind = data.get("space") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _KEYS or data.keys() != _KEYS[kind] | {"space"} or depth > MAX_DEPTH:
        raise ValueError(f"{name} is no space that this version of sb3_gac can read: {str(data)[:200]}")
    try:
        return _make_space(kind, data, name, depth)
    except (TypeError, ValueError, AssertionError, AttributeError, OverflowError) as error:
        raise ValueError(f"{name} is no {kind} space: {error}") from error


def _make_space(kind: str, data: dict[str, Any], name: str, depth: int) -> spaces.Space[Any]:
    if kind == "Box":
        low, high = (array_from_plain(data[bound], f"{name}.{bound}") for bound in ("low", "high"))
        return spaces.Box(low, high, dtype=low.dtype.type)
    if kind == "Discrete":
        # Gymnasium has had another dtype since 1.1 only
        dtype: dict[str, Any] = {} if data["dtype"] == "int64" else {"dtype": real_dtype(data["dtype"], name)}
        return spaces.Discrete(data["n"], start=data["start"], **dtype)
    if kind == "MultiDiscrete":
        nvec, start = (array_from_plain(data[key], f"{name}.{key}") for key in ("nvec", "start"))
        return spaces.MultiDiscrete(nvec, dtype=nvec.dtype.type, start=start)
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["shape"])
    pairs = OrderedDict((key, space_from_plain(part, f"{name}[{key!r}]", depth + 1)) for key, part in data["spaces"])
    return spaces.Dict(pairs)
