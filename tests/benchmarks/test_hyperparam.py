from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml")

from benchmarks.envs import TASKS
from benchmarks.hyperparam import dump_yaml, load_hyperparams, model_arguments, parse_params, parse_value
from sb3_gac import GAC

FILE = """
default: {policy: MlpLatentPolicy, n_timesteps: 7}
Maze-v0: &maze
  policy: MlpLatentPolicy
  policy_kwargs: "dict(net_arch=[8, 8], plan_dim=3)"
  learning_rate: lin_0.01
  train_freq: [2, episode]
  offline_gradient_steps: 5
Maze-v1:
  <<: *maze
  batch_size: 4
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.yml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("1e-3", 1e-3),
        ("-2.5", -2.5),
        ("True", True),
        ("None", None),
        ("[64, 64]", [64, 64]),
        ("(1, 'episode')", (1, "episode")),
        ("dict(net_arch=[64], inner=dict(a=1))", {"net_arch": [64], "inner": {"a": 1}}),
        ("{'a': 1}", {"a": 1}),
        ("lin_1e-3", "lin_1e-3"),
        ("MlpLatentPolicy", "MlpLatentPolicy"),
        ("", ""),
        ("a:b", "a:b"),
        # Nothing but literals is evaluated
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("dict(a=open('x'))", "dict(a=open('x'))"),
    ],
)
def test_values_on_the_command_line(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_overrides_are_split_at_the_first_colon() -> None:
    assert parse_params(["policy_kwargs:{'a': 1}", "batch_size:8"]) == {"policy_kwargs": {"a": 1}, "batch_size": 8}
    with pytest.raises(ValueError, match="key:value"):
        parse_params(["batch_size=8"])


def test_the_first_name_with_an_entry_counts(file: Path) -> None:
    assert load_hyperparams(["none/such-v0", "Maze-v1", "Maze-v0"], path=file) == {
        "policy": "MlpLatentPolicy",
        "policy_kwargs": {"net_arch": [8, 8], "plan_dim": 3},
        "learning_rate": "lin_0.01",
        "train_freq": [2, "episode"],
        "offline_gradient_steps": 5,
        "batch_size": 4,
        "n_timesteps": 0,
        "n_envs": 1,
    }
    assert load_hyperparams(["none/such-v0"], path=file)["n_timesteps"] == 7


def test_overrides_take_the_place_of_the_file(file: Path) -> None:
    overrides = {"policy_kwargs.plan_dim": 4, "replay_buffer_kwargs.a": 1, "batch_size": 2}
    params = load_hyperparams(["Maze-v0"], overrides, file)
    assert params["policy_kwargs"] == {"net_arch": [8, 8], "plan_dim": 4}
    assert params["replay_buffer_kwargs"] == {"a": 1}
    assert params["batch_size"] == 2
    # The anchor is shared between the entries, the change is not
    assert load_hyperparams(["Maze-v1"], path=file)["policy_kwargs"]["plan_dim"] == 3


def test_an_unknown_name_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=r"batchsize.*known are.*batch_size"):
        load_hyperparams(["Maze-v0"], {"batchsize": 2}, file)
    for key in ("seed", "device", "env"):  # these have an option of their own
        with pytest.raises(ValueError, match="unknown hyper-parameters"):
            load_hyperparams(["Maze-v0"], {key: 0}, file)


def test_without_default_a_missing_entry_is_refused(file: Path) -> None:
    file.write_text(FILE.replace("default", "other"))
    with pytest.raises(ValueError, match="no entry for Foo-v0"):
        load_hyperparams(["Foo-v0"], path=file)


def test_arguments_of_the_model_have_its_types(file: Path) -> None:
    arguments = model_arguments(load_hyperparams(["Maze-v0"], path=file))
    assert arguments["train_freq"] == (2, "episode")
    assert arguments["learning_rate"](1.0) == pytest.approx(0.01)
    assert arguments["learning_rate"](0.5) == pytest.approx(0.005)
    assert arguments["learning_rate"](0.0) == 0.0
    assert not {"offline_gradient_steps", "n_timesteps", "n_envs"} & arguments.keys()
    with pytest.raises(ValueError, match="learning rate"):
        model_arguments({"learning_rate": "cos_1"})


@pytest.mark.parametrize("name", [*TASKS, "Pendulum-v1", "default"])
def test_every_entry_of_the_project_makes_a_model(name: str) -> None:
    params = load_hyperparams([name])
    assert params["n_timesteps"] > 0
    assert (params["offline_gradient_steps"] > 0) == (name != "Pendulum-v1")
    GAC(env="Pendulum-v1", **model_arguments(params))


@pytest.mark.parametrize("is_maze", [True, False])
def test_one_recipe_for_all_mazes_and_one_for_all_locomotion_sets(is_maze: bool) -> None:
    names = [name for name in TASKS if name.startswith("maze2d") == is_maze]
    recipes = [load_hyperparams([name]) for name in names]
    for name, recipe in zip(names, recipes, strict=True):  # larger tasks may take longer, and an episode lasts what it lasts
        del recipe["offline_gradient_steps"], recipe["n_timesteps"]
        assert recipe.pop("completion_horizon", None) == (TASKS[name].horizon if is_maze else None)
    assert all(recipe == recipes[0] for recipe in recipes)


def test_paths_are_written_as_strings(tmp_path: Path) -> None:
    dump_yaml({"a": [tmp_path, (1, 2)], "b": {"c": None, "d": "é"}}, tmp_path / "x.yml")
    assert (tmp_path / "x.yml").read_text(encoding="utf-8") == f"a:\n- {tmp_path}\n- - 1\n  - 2\nb:\n  c: null\n  d: é\n"
