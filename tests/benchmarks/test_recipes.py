from pathlib import Path

import pytest

pytest.importorskip("yaml")

from stable_baselines3.common.utils import LinearSchedule

from benchmarks.bc import CLONING, BehaviourCloning
from benchmarks.envs import TASKS
from benchmarks.recipes import (
    CONTROLS,
    RECIPES,
    change,
    load_recipe,
    load_yaml,
    model_arguments,
    parse_overrides,
    parse_zoo_value,
)
from sb3_gac import GAC


@pytest.mark.parametrize("name", [*TASKS, *load_yaml(RECIPES)])
def test_every_recipe_makes_a_model(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe["n_timesteps"] > 0
    GAC(**model_arguments(recipe), device="cpu")
    if name in TASKS:
        assert recipe["offline_gradient_steps"] > 0 and recipe["return_only"]
        BehaviourCloning(**model_arguments(change(recipe, load_yaml(CLONING))), device="cpu")


@pytest.mark.parametrize("control", load_yaml(CONTROLS))
def test_every_control_makes_another_model(control: str) -> None:
    recipe = load_recipe("hopper-medium")
    is_of_actions = control == "independent-actions"  # it changes no setting
    assert is_of_actions or change(recipe, load_yaml(CONTROLS)[control]) != recipe
    GAC(**model_arguments(change(recipe, load_yaml(CONTROLS)[control])), device="cpu")


def test_an_unknown_name_has_the_default_recipe_and_an_unknown_setting_is_refused() -> None:
    assert load_recipe("nothing", "Nothing-v0") == load_recipe("default")
    assert load_recipe("maze2d-umaze", "default")["return_only"] and "return_only" not in load_recipe("default")
    with pytest.raises(ValueError, match="unknown hyper-parameters: plan_size"):
        model_arguments({"policy": "MlpLatentPolicy", "plan_size": 3})


def test_changes_leave_the_settings_alone() -> None:
    params = {"a": 1, "policy_kwargs": {"plan_dim": 4}}
    assert change(params, {"a": 2, "policy_kwargs.plan_dim": 8, "b.c": None}) == {
        "a": 2,
        "policy_kwargs": {"plan_dim": 8},
        "b": {"c": None},
    }
    assert params == {"a": 1, "policy_kwargs": {"plan_dim": 4}}


def test_overrides_are_yaml() -> None:
    arguments = ["a=1e-3", "b=[1, 2]", "c=null", "d=lin_1e-3", "e.f=true"]
    assert parse_overrides(arguments) == {"a": 0.001, "b": [1, 2], "c": None, "d": "lin_1e-3", "e.f": True}
    with pytest.raises(ValueError, match="expected name=value"):
        parse_overrides(["a:1"])


def test_schedules_fall_and_code_is_not_evaluated(tmp_path: Path) -> None:
    schedule = parse_zoo_value("learning_rate", "lin_1e-3")
    assert isinstance(schedule, LinearSchedule) and schedule(0.5) == pytest.approx(0.0005)
    assert parse_zoo_value("train_freq", [1, "episode"]) == (1, "episode")
    with pytest.raises(ValueError):
        parse_zoo_value("policy_kwargs", "dict(a=print(1))")
