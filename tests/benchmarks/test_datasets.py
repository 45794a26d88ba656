"""The regenerated data sets: what is in them, that they come out the same, and that none is ever half there."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")
pytest.importorskip("h5py")
pytest.importorskip("minari")

import minari

from benchmarks.datasets import RECIPES, dataset_id, dataset_path, generate_dataset, main, write_dataset
from benchmarks.envs import TASKS
from benchmarks.sac_recipe import MediumRecipe, MediumReplayRecipe, SacTraining
from benchmarks.waypoint import WaypointRecipe
from sb3_gac.data import load_dataset


def collect(name, n_steps, seed, tmp_path):
    return list(WaypointRecipe(n_steps=n_steps).collect(TASKS[name], seed, tmp_path))


def load(path):
    return list(minari.MinariDataset(path / "data").iterate_episodes())


def assert_same_episodes(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for field in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_the_same_seed_makes_the_same_data(tmp_path):
    first = generate_dataset("maze2d-umaze", n_steps=1000, seed=7, output=tmp_path / "first")
    second = generate_dataset("maze2d-umaze", n_steps=1000, seed=7, output=tmp_path / "second")
    other = generate_dataset("maze2d-umaze", n_steps=1000, seed=8, output=tmp_path / "other")
    assert_same_episodes(load(first), load(second))
    assert not np.array_equal(load(first)[0].observations, load(other)[0].observations)


def test_data_set_is_what_the_controller_did(tmp_path):
    path = generate_dataset("maze2d-medium", n_steps=1000, output=tmp_path)
    assert path == tmp_path / "gac" / "maze2d-medium-v0" == dataset_path("maze2d-medium", tmp_path)
    assert_same_episodes(load(path), collect("maze2d-medium", 1000, 0, tmp_path))
    for episode in load(path):
        assert not episode.terminations.any()
        assert list(np.flatnonzero(episode.truncations)) == [len(episode.rewards) - 1]


def test_gac_loads_it(tmp_path):
    path = generate_dataset("maze2d-umaze", n_steps=500, output=tmp_path)
    trajectories = load_dataset(path).trajectories
    episodes = collect("maze2d-umaze", 500, 0, tmp_path)
    assert [trajectory.total_return for trajectory in trajectories] == [episode.rewards.sum() for episode in episodes]
    for trajectory, episode in zip(trajectories, episodes, strict=True):
        np.testing.assert_array_equal(trajectory.observations, episode.observations[:-1])
        np.testing.assert_array_equal(trajectory.actions, episode.actions)
        assert trajectory.truncated and not trajectory.terminated


def test_the_root_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = generate_dataset("maze2d-umaze", 100, output=Path("runs"))
    assert path.is_relative_to(tmp_path / "runs")
    assert sum(len(trajectory) for trajectory in load_dataset(path).trajectories) == 100


def test_minari_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    path = generate_dataset("maze2d-umaze", n_steps=500)
    assert path.is_relative_to(tmp_path)
    assert set(minari.list_local_datasets()) == {dataset_id("maze2d-umaze")} == {"gac/maze2d-umaze-v0"}
    dataset = minari.load_dataset("gac/maze2d-umaze-v0")
    assert dataset.total_steps == 500
    # Minari's scale is 0 to 1
    np.testing.assert_allclose(minari.get_normalized_score(dataset, np.array([23.85, 161.86])), [0.0, 1.0])
    metadata = dataset.storage.metadata
    assert metadata["seed"] == 0
    assert metadata["recipe"]["n_steps"] == 500 and metadata["recipe"]["name"] == "WaypointRecipe"
    assert "mujoco " in metadata["versions"] and "gymnasium_robotics " in metadata["versions"]


def test_the_environment_comes_back(tmp_path):
    path = generate_dataset("maze2d-large", n_steps=100, output=tmp_path)
    dataset = minari.MinariDataset(path / "data")
    env, expected = dataset.recover_environment(eval_env=True), TASKS["maze2d-large"].make_env()
    assert env.spec == expected.spec
    assert (env.observation_space, env.action_space) == (dataset.observation_space, dataset.action_space)
    np.testing.assert_array_equal(env.reset(seed=5)[0], expected.reset(seed=5)[0])
    np.testing.assert_array_equal(env.unwrapped.goal, expected.unwrapped.goal)
    action = np.array([0.5, -1.0], dtype=np.float32)
    for _ in range(30):
        np.testing.assert_array_equal(env.step(action)[0], expected.step(action)[0])


def test_existing_data_set_is_kept(tmp_path):
    path = generate_dataset("maze2d-umaze", n_steps=300, output=tmp_path)
    written = (path / "data" / "main_data.hdf5").stat().st_mtime_ns
    assert generate_dataset("maze2d-umaze", n_steps=300, output=tmp_path) == path
    assert (path / "data" / "main_data.hdf5").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="was made otherwise"):
        generate_dataset("maze2d-umaze", n_steps=400, output=tmp_path)
    with pytest.raises(ValueError, match="was made otherwise"):
        generate_dataset("maze2d-umaze", n_steps=300, seed=1, output=tmp_path)
    generate_dataset("maze2d-umaze", n_steps=400, output=tmp_path, overwrite=True)
    assert minari.MinariDataset(path / "data").total_steps == 400
    assert [folder.name for folder in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("is_there", [False, True])
def test_interruption_leaves_nothing_half_done(tmp_path, is_there):
    task = TASKS["maze2d-umaze"]
    path = dataset_path("maze2d-umaze", tmp_path)
    if is_there:
        generate_dataset("maze2d-umaze", n_steps=300, output=tmp_path)

    def interrupted():
        yield from collect("maze2d-umaze", 200, 0, tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(path, task, interrupted(), {})
    assert [folder.name for folder in path.parent.iterdir()] == ([path.name] if is_there else [])
    if is_there:
        assert minari.MinariDataset(path / "data").total_steps == 300


def test_command(tmp_path, capsys):
    main(["maze2d-umaze", "maze2d-medium", "--steps", "400", "--seed", "2", "--output", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["gac/maze2d-umaze-v0", "gac/maze2d-medium-v0"]
    assert "400 steps" in lines[0]
    metadata = json.loads((dataset_path("maze2d-umaze", tmp_path) / "data" / "metadata.json").read_text())
    assert metadata["seed"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maze2d-huge"], "invalid choice"),
        (["maze2d-umaze", "--steps", "0"], "positive number of steps"),
        (["hopper-medium-replay", "--steps", "1000"], "cannot be chosen"),
    ],
)
def test_command_refuses(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--output", str(tmp_path)])
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_task_has_its_recipe():
    assert {name: recipe.training.return_threshold for name, recipe in RECIPES.items() if "maze2d" not in name} == {
        "hopper-medium": 1400,
        "hopper-medium-replay": 1400,
        "walker2d-medium": 2500,
        "walker2d-medium-replay": 2500,
        "halfcheetah-medium": 4800,
        "halfcheetah-medium-replay": 4800,
    }
    mazes = {name for name, recipe in RECIPES.items() if isinstance(recipe, WaypointRecipe)}
    assert mazes == {"maze2d-umaze", "maze2d-medium", "maze2d-large"}


def test_command_makes_both_sets_of_one_training(tmp_path, monkeypatch, capsys):
    training = SacTraining(return_threshold=-1.0, n_returns=3, random_steps=10_000, net_arch=(8,), max_steps=2_000)
    monkeypatch.setitem(RECIPES, "hopper-medium", MediumRecipe(training))
    monkeypatch.setitem(RECIPES, "hopper-medium-replay", MediumReplayRecipe(training))
    output = ["--output", str(tmp_path)]
    main(["hopper-medium-replay", *output])
    monkeypatch.setattr("stable_baselines3.SAC.learn", lambda *args, **kwargs: pytest.fail("trained again"))
    main(["hopper-medium", "--steps", "50", *output])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("SAC: ") and lines[1].startswith("gac/hopper-medium-replay-v0: 3 trajectories")
    for name in ("hopper-medium", "hopper-medium-replay"):
        dataset = minari.MinariDataset(dataset_path(name, tmp_path) / "data")
        assert dataset.recover_environment().spec == TASKS[name].make_env().spec
        assert all(episode.terminations[-1] != episode.truncations[-1] for episode in dataset.iterate_episodes())
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert set(minari.list_local_datasets()) == {"gac/hopper-medium-v0", "gac/hopper-medium-replay-v0"}
