import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
pytest.importorskip("yaml")

from benchmarks.grid import ABLATIONS, Cell, load_ablations, make_grid
from benchmarks.hyperparam import HYPERPARAMS, load_yaml, model_arguments
from benchmarks.options import parse_options
from benchmarks.train import make_parser
from sb3_gac import GAC


def names(cells: list[Cell]) -> list[str]:
    return [cell.name for cell in cells]


def test_every_data_set_with_every_algorithm_and_seed() -> None:
    cells = make_grid(["maze2d-umaze", "hopper-medium=some/hopper.hdf5"], ["gac", "iql-return"], [0, 7])
    assert names(cells) == [
        "maze2d-umaze/gac/seed0",
        "maze2d-umaze/iql-return/seed0",
        "hopper-medium/gac/seed0",
        "hopper-medium/iql-return/seed0",
        "maze2d-umaze/gac/seed7",
        "maze2d-umaze/iql-return/seed7",
        "hopper-medium/gac/seed7",
        "hopper-medium/iql-return/seed7",
    ]
    assert [cell.data for cell in cells[:4]] == [None, None, "some/hopper.hdf5", "some/hopper.hdf5"]


def test_ablations_are_of_gac_only_and_beside_the_recipe() -> None:
    cells = make_grid(
        ["maze2d-umaze"],
        ["gac", "bc"],
        [0],
        ablations={"no-clock": {"policy_kwargs.clock_scale": 0.0}},
        params={"batch_size": 8},
        mode="offline-to-online",
    )
    assert names(cells) == ["maze2d-umaze/gac/seed0", "maze2d-umaze/gac+no-clock/seed0", "maze2d-umaze/bc/seed0"]
    recipe, ablation, cloning = (cell.resolve_params() for cell in cells)
    assert ablation["policy_kwargs"] == {**recipe["policy_kwargs"], "clock_scale": 0.0}
    assert recipe["batch_size"] == ablation["batch_size"] == cloning["batch_size"] == 8
    assert [cell.mode for cell in cells] == ["offline-to-online", "offline-to-online", "offline"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algos": ["dqn"]}, "no algorithm 'dqn'"),
        ({"data": []}, "nothing to run"),
        ({"seeds": [1, 1]}, "twice in the grid: maze2d-umaze/gac/seed1"),
        ({"mode": "both"}, "no mode 'both'"),
        ({"params": {"plan_size": 3}}, "plan_size"),
        ({"algos": ["bc"], "ablations": {"a": {}}}, "ablations are of gac"),
        ({"algos": ["iql"], "data": ["Pendulum-v1"]}, "iql learns offline, from a data set"),
        ({"data": ["Pendulum-v1"], "mode": "offline"}, "there is no data set"),
        ({"data": ["=a.hdf5"]}, "TASK=PATH"),
    ],
)
def test_a_grid_that_could_not_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_grid(**{"data": ["maze2d-umaze"], "algos": ["gac"], "seeds": [0], **changes})


def test_a_peer_is_not_trained_online() -> None:
    with pytest.raises(ValueError, match="iql learns offline"):
        Cell("maze2d-umaze", None, "iql", mode="online").check()


def test_other_hyperparameters_are_other_settings() -> None:
    cell = Cell("maze2d-umaze", "/here/data.hdf5", "gac")
    assert cell.settings == Cell("maze2d-umaze", "/there/data.hdf5", "gac", seed=3).settings
    assert cell.settings != Cell("maze2d-umaze", None, "gac").settings
    assert cell.settings != Cell("maze2d-umaze", "/here/data.hdf5", "gac", params={"batch_size": 3}).settings
    assert cell.settings != Cell("maze2d-umaze", "/here/data.hdf5", "gac", eval_episodes=3).settings
    assert cell.settings == Cell("maze2d-umaze", "/here/data.hdf5", "gac", eval_freq=0).settings  # a run is the same unseen
    assert json.loads(cell.settings)["params"]["offline_gradient_steps"] > 0
    peer = Cell("maze2d-umaze", None, "iql-return", params={"n_updates": 7})
    assert json.loads(peer.settings)["params"] == {"n_updates": 7, "gamma": 1.0}


def test_the_command_means_the_cell(tmp_path: Path) -> None:
    params = {"policy_kwargs.net_arch": [8, 8], "learning_rate": "lin_1e-3", "kl_coef": 1.0}
    cell = Cell("maze2d-umaze", None, "gac", "small", 4, params, "offline", 20, eval_freq=0)
    python, minus_m, module, *words = cell.command("python3", "/data", tmp_path)
    assert (python, minus_m, module) == ("python3", "-m", "benchmarks.train")
    given = parse_options(make_parser().parse_args(words))
    assert (given.env, given.data, given.algo, given.seed, given.mode) == ("maze2d-umaze", "/data", "gac", 4, "offline")
    assert (given.eval_episodes, given.eval_freq, given.output, given.progress_bar) == (20, 0, tmp_path, False)
    assert given.params == params
    assert Cell("maze2d-umaze", None, "dt").command("python3", None, tmp_path)[2] == "benchmarks.peers"


def test_the_command_finds_the_recipe_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, expected in (
        (HYPERPARAMS, "benchmarks/hyperparams/gac.yml"),  # the same on every machine
        (Path("mine.yml"), str(tmp_path.resolve() / "mine.yml")),  # the runs start elsewhere
    ):
        command = Cell("maze2d-umaze", None, "gac", hyperparams=path).command("python3", None, tmp_path)
        assert Path(command[command.index("--conf-file") + 1]) == Path(expected)


def test_ablations_by_name(tmp_path: Path) -> None:
    assert list(load_ablations(["all"])) == list(load_yaml(ABLATIONS))
    assert load_ablations([]) == {}
    path = tmp_path / "ablations.yml"
    path.write_text("narrow: {batch_size: 2}\n")
    assert load_ablations(["narrow"], path) == {"narrow": {"batch_size": 2}}
    with pytest.raises(ValueError, match="no ablation 'wide'; it has narrow"):
        load_ablations(["wide"], path)


@pytest.mark.parametrize("name", load_yaml(ABLATIONS))
def test_each_ablation_changes_a_recipe_and_makes_a_model(name: str) -> None:
    cells = make_grid(["maze2d-umaze", "hopper-medium"], ["gac"], [0], ablations=load_ablations([name]))
    recipes, ablations = cells[::2], cells[1::2]
    assert any(a.resolve_params() != recipe.resolve_params() for a, recipe in zip(ablations, recipes, strict=True))
    arguments = model_arguments(ablations[0].resolve_params())
    policy_kwargs = {**arguments.pop("policy_kwargs"), "net_arch": [8]}
    GAC(env=gym.make("Pendulum-v1"), device="cpu", policy_kwargs=policy_kwargs, **arguments)
