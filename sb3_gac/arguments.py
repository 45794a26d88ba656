"""Which arguments of GAC and of its policy make sense."""

import inspect
import math
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

AT_LEAST = {"batch_size": 1, "buffer_size": 1, "posterior_steps": 0}
ABOVE_0 = ("effective_horizon", "target_kl", "max_grad_norm")
SHARES = ("gamma", "gae_lambda", "explore_ratio", "offline_ratio")

Choice = TypeVar("Choice")


def check_arguments(model: Any) -> None:
    """
    Refuse numbers that make no sense, before any work is lost.

    :param model: A model, or what else has all arguments of GAC as attributes.
    :raises ValueError: naming the argument, what it must be and what it is.
    """
    check = partial(_check, model)
    check_at_least(model, **AT_LEAST)
    for name in ABOVE_0:
        check(name, getattr(model, name) > 0, "above 0")
    for name in SHARES:
        check(name, 0 <= getattr(model, name) <= 1, "in [0, 1]")
    check("gradient_steps", model.gradient_steps == int(model.gradient_steps), "a whole number")
    train_freq = model.train_freq[0] if isinstance(model.train_freq, tuple) else model.train_freq
    check("train_freq", not isinstance(train_freq, int) or train_freq >= 1, "at least 1")  # less never ends a rollout
    temperature = model.advantage_temperature
    check("advantage_temperature", temperature is None or temperature > 0, "above 0 or None")
    is_learnt, is_number = model.kl_coef == "auto", not isinstance(model.kl_coef, str)
    check("kl_coef", is_learnt or (is_number and float(model.kl_coef) > 0), "'auto' or a number above 0")


def check_at_least(owner: Any, **at_least: int) -> None:
    """
    Refuse attributes that are too small, or infinite.

    :param owner: What has them.
    :param at_least: The least that each may be.
    :raises ValueError: naming the argument, what it must be and what it is.
    """
    for name, least in at_least.items():
        _check(owner, name, least <= getattr(owner, name) < math.inf, f"at least {least}")


def choose(argument: str, registry: Mapping[str, Choice], name: str) -> Choice:
    """
    What a name stands for.

    :param argument: The argument that gives the name, for the message.
    :param registry: What can be chosen.
    :param name: The name.
    :raises ValueError: naming the argument and all that can be chosen.
    """
    if name not in registry:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, registry))}, got {name!r}")
    return registry[name]


def without_peers_arguments(arguments: Mapping[str, Any], is_of_policy: bool = False) -> dict[str, Any]:
    """
    Arguments that no peer of GAC has, warning of the others: a script keeps running when ``SAC`` becomes ``GAC`` in it.

    :param arguments: Keyword arguments that GAC, or its policy, has no use for.
    :param is_of_policy: Whether they are those of the policy.
    """
    if not arguments:
        return {}
    from sb3_contrib import TQC  # it takes as long to import as all of GAC
    from stable_baselines3 import SAC

    peers = [algorithm.policy_aliases["MlpPolicy"] if is_of_policy else algorithm for algorithm in (SAC, TQC)]
    known = {name for peer in peers for name in inspect.signature(peer).parameters}
    if ignored := [name for name in arguments if name in known]:
        warnings.warn(f"GAC ignores {', '.join(ignored)}: arguments of SAC or TQC that it has no use for", stacklevel=3)
    return {name: value for name, value in arguments.items() if name not in known}


def _check(owner: Any, name: str, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ValueError(f"{name} must be {expected}, got {getattr(owner, name)!r}")
