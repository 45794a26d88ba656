"""What only some installations have."""

import importlib.util


def require(extra: str, *modules: str) -> None:
    """
    Complain now, not when the work has begun, about modules that will be needed.

    :param extra: The extra of sb3_gac that brings them.
    :param modules: Names of the modules.
    :raises ImportError: naming the extra, when one is missing.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f'{" and ".join(missing)} missing: pip install ".[{extra}]"')
