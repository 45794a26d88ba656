"""Settings as small data: the recipes of the offline tables, the controls, and overrides from the command line."""

import ast
import copy
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from sb3_gac import GAC
from sb3_gac.extra import require

HYPERPARAMS = Path(__file__).parent / "hyperparams"
RECIPES, CONTROLS = HYPERPARAMS / "gac.yml", HYPERPARAMS / "controls.yml"
# Of a recipe, beside the arguments of GAC
RUN_KEYS = ("n_envs", "n_timesteps", "offline_gradient_steps")


def load_yaml(path: Path) -> dict[str, Any]:
    """The entries of a YAML file."""
    require("zoo", "yaml")
    import yaml

    entries: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return entries


def load_recipe(*names: str) -> dict[str, Any]:
    """The recipe of the first of the names that has one, else the default."""
    recipes = load_yaml(RECIPES)
    recipe = recipes[next((name for name in names if name in recipes), "default")]
    return {"n_envs": 1, "n_timesteps": 0, "offline_gradient_steps": 4000, **copy.deepcopy(recipe)}


def change(params: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others in the place of some; a dotted name, as ``policy_kwargs.plan_dim``, changes one entry of a dict."""
    params = copy.deepcopy(params)
    for name, value in changes.items():
        *outer, last = name.split(".")
        inner = params
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return params


def model_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """
    The arguments of GAC among the settings of a recipe, in the types that it takes.

    :raises ValueError: when one is neither an argument of GAC nor of the run.
    """
    known = [*RUN_KEYS, *inspect.signature(GAC.__init__).parameters]
    unknown = [name for name in params if name not in known]
    if unknown:
        raise ValueError(f"unknown hyper-parameters: {', '.join(unknown)}")
    return {name: parse_zoo_value(name, value) for name, value in params.items() if name not in RUN_KEYS}


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Overrides from the command line, each ``name=value`` with a value in YAML."""
    import yaml

    overrides = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, not {argument!r}")
        value = yaml.safe_load(text)
        try:
            value = float(value) if isinstance(value, str) else value  # 1e-3 is a string to YAML
        except ValueError:
            pass
        overrides[name] = value
    return overrides


def parse_zoo_value(name: str, value: Any) -> Any:
    """A parameter as SB3 takes it; in the zoo's files, schedules are ``lin_NUMBER`` and dicts may be ``dict(...)``."""
    if name == "train_freq" and isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    if value.startswith("lin_"):
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return _literal(ast.parse(value.strip(), mode="eval").body) if value.startswith("dict(") else value


def _literal(node: ast.AST) -> Any:
    """Value of a literal, in which ``dict(...)`` and classes of ``torch.nn`` may stand; nothing else is evaluated."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {keyword.arg: _literal(keyword.value) for keyword in keywords}
        case ast.Attribute(value=ast.Name(id="nn"), attr=attribute):
            return getattr(nn, attribute)
        case ast.List(elts=elements):
            return [_literal(element) for element in elements]
    return ast.literal_eval(ast.unparse(node))
