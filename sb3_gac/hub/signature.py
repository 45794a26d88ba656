"""Do values fit the annotations of the arguments that they are for."""

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin


def check_types(values: Mapping[str, Any], *functions: Callable[..., Any]) -> None:
    """
    Refuse values of other types than the arguments of functions have.

    :param values: Values by the names of the arguments; those of other names are left alone.
    :param functions: The functions, the first that has an argument of the name counts.
    :raises ValueError: naming the argument, its type and its value.
    """
    hints: dict[str, Any] = {}
    for function in functions:
        hints = inspect.get_annotations(function) | hints
    for name, value in values.items():
        if name in hints and not fits(value, hints[name]):
            raise ValueError(f"{name} is {str(value)[:200]!r}, expected {hints[name]}")


def fits(value: Any, hint: Any) -> bool:
    """
    Whether a value is of a type; a tuple will do for a list, and a whole number for a real one.

    :param value: The value.
    :param hint: The annotation: a class, a union, a literal, or a container of such; anything fits one that is a string.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, str):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if origin is type:
        return isinstance(value, type) and issubclass(value, inner[0])
    if origin is list:
        return isinstance(value, list | tuple) and all(fits(item, inner[0]) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if origin is not None:  # a function
        return callable(value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return value is None if hint is None else isinstance(value, hint)
