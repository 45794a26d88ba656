"""Hyper-parameters of a run: from a file in the format of the RL Zoo, then from the command line."""

import ast
import copy
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from sb3_gac import GAC
from sb3_gac.extra import require

HYPERPARAMS = Path(__file__).parent / "hyperparams" / "gac.yml"

# Beside the arguments of GAC
RUN_KEYS = ("policy", "n_envs", "n_timesteps", "offline_gradient_steps")
# These come from elsewhere on the command line
OTHER_KEYS = ("self", "env", "seed", "device", "verbose", "_init_setup_model", "sac_kwargs")


def load_hyperparams(
    names: Sequence[str | None], overrides: Mapping[str, Any] | None = None, path: Path = HYPERPARAMS
) -> dict[str, Any]:
    """
    Hyper-parameters of the first of the names that has an entry, else those of ``default``.

    :param names: names of the data set, the task, the environment, in order of preference; None for one that there is not.
    :param overrides: take the place of what the file says; a dotted name such as ``policy_kwargs.plan_dim`` changes one
        entry of a dict.
    :param path: the YAML file.
    :raises ImportError: when PyYAML is missing.
    :raises ValueError: naming the file and the key, when a key is not known, or an entry is missing.
    """
    entries = load_yaml(path)
    name = next((name for name in names if name is not None and name in entries), "default")
    if name not in entries:
        raise ValueError(
            f"{path} has no entry for {' or '.join(filter(None, names))}, nor a default; it has {', '.join(entries)}"
        )
    params: dict[str, Any] = {"n_timesteps": 0, "offline_gradient_steps": 0, "n_envs": 1, **copy.deepcopy(entries[name])}
    for key, value in (overrides or {}).items():
        *outer, last = key.split(".")
        inner = params
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    known = [*RUN_KEYS, *(key for key in inspect.signature(GAC.__init__).parameters if key not in OTHER_KEYS)]
    unknown = [key for key in params if key not in known]
    if unknown:
        raise ValueError(
            f"unknown hyper-parameters {', '.join(unknown)} for {name}; known are {', '.join(sorted(set(known)))}"
        )
    return params


def model_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """
    The arguments of GAC among the hyper-parameters, in the types that it takes.

    :param params: hyper-parameters as the file has them.
    """
    arguments = {key: copy.deepcopy(value) for key, value in params.items() if key == "policy" or key not in RUN_KEYS}
    if isinstance(arguments.get("train_freq"), list):  # [1, "episode"]
        arguments["train_freq"] = tuple(arguments["train_freq"])
    learning_rate = arguments.get("learning_rate")
    if isinstance(learning_rate, str):
        if not learning_rate.startswith("lin_"):
            raise ValueError(f"a learning rate is a number or, to fall to zero, lin_<number>, not {learning_rate!r}")
        arguments["learning_rate"] = LinearSchedule(float(learning_rate.removeprefix("lin_")), 0.0, 1.0)
    return arguments


def parse_params(arguments: Sequence[str]) -> dict[str, Any]:
    """
    Overrides from the command line.

    :param arguments: each ``key:value``; the value is a Python literal, ``dict(...)`` included, or else a string.
    :raises ValueError: when one has no colon.
    """
    params = {}
    for argument in arguments:
        key, colon, value = argument.partition(":")
        if not colon:
            raise ValueError(f"expected key:value, not {argument!r}")
        params[key] = parse_value(value)
    return params


def parse_value(text: str) -> Any:
    """
    Value of a Python literal; ``dict(a=1)`` may stand for ``{"a": 1}``, and what is no literal is a string.

    :param text: such as ``1e-3``, ``[64, 64]``, ``True``, ``dict(net_arch=[64, 64])`` or ``lin_1e-3``.
    """
    try:
        return ast.literal_eval(_DictCalls().visit(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError):
        return text


class _DictCalls(ast.NodeTransformer):
    """Turn ``dict(a=1)`` into ``{"a": 1}``: the zoo's files are written so, and nothing but literals is evaluated."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Name) and node.func.id == "dict") or node.args:
            return node
        keys = [None if keyword.arg is None else ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict([*keys], [keyword.value for keyword in node.keywords])


def dump_yaml(content: Mapping[str, Any], path: Path) -> None:
    """
    Write a YAML file; paths are written as strings.

    :param content: dicts, lists and plain values.
    :param path: the file.
    """
    text = _yaml().safe_dump(_plain(content), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def load_yaml(path: Path) -> dict[str, Any]:
    """
    The entries of a YAML file of hyper-parameters.

    :param path: the file; ``policy_kwargs`` may be written as ``dict(...)``, as in the zoo's files.
    :raises ImportError: when PyYAML is missing.
    """
    entries: dict[str, Any] = _yaml().safe_load(path.read_text(encoding="utf-8"))
    for params in entries.values():
        if isinstance(params.get("policy_kwargs"), str):
            params["policy_kwargs"] = parse_value(params["policy_kwargs"])
    return entries


def _yaml() -> Any:
    require("zoo", "yaml")
    import yaml

    return yaml
