"""Which arguments of GAC and of its actor make sense."""

import math
from functools import partial
from typing import Any

AT_LEAST = {"batch_size": 1, "buffer_size": 1, "posterior_steps": 0}
ABOVE_0 = ("effective_horizon", "target_kl", "max_grad_norm")
SHARES = ("gamma", "gae_lambda", "explore_ratio", "offline_ratio")
ACTOR_AT_LEAST = {
    "plan_dim": 1,
    "n_critics": 1,
    "n_candidates": 1,
    "n_averaged": 1,
    "exploit_steps": 0,
    "explore_steps": 0,
    "replan_freq": 1,
}


def check_arguments(model: Any) -> None:
    """
    Refuse numbers that make no sense, before any work is lost.

    :param model: A model, or what else has all arguments of GAC as attributes.
    :raises ValueError: naming the argument, what it must be and what it is.
    """
    check = partial(_check, model)
    for name, least in AT_LEAST.items():
        check(name, least <= getattr(model, name) < math.inf, f"at least {least}")
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


def check_actor_arguments(actor: Any) -> None:
    """
    Refuse numbers of an actor that make no sense.

    :param actor: An actor, or what else has all its arguments as attributes.
    :raises ValueError: naming the argument, what it must be and what it is.
    """
    check = partial(_check, actor)
    for name, least in ACTOR_AT_LEAST.items():
        check(name, least <= getattr(actor, name) < math.inf, f"at least {least}")
    check("plan_horizon", actor.plan_horizon is None or actor.plan_horizon >= 1, "at least 1 or None")


def _check(owner: Any, name: str, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ValueError(f"{name} must be {expected}, got {getattr(owner, name)!r}")
