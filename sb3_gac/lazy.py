"""Names of a package whose modules are imported when they are asked for."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def import_lazily(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """
    The ``__getattr__`` of a package, see PEP 562.

    :param package: Name of the package.
    :param names: For each module, the names that the package has from it.
    """
    modules = {name: module for module, of_module in names.items() for name in of_module}

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return find
