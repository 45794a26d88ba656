"""The regenerated data sets: what is in them, that they come out the same, and that none is ever half there."""

import json
from collections import deque
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")
pytest.importorskip("h5py")
pytest.importorskip("minari")

import minari
from stable_baselines3.common.utils import set_random_seed

from benchmarks.datasets import RECIPES, dataset_id, dataset_path, generate_dataset, main, write_dataset
from benchmarks.envs import MazeTask, Task, get_task, make_env
from benchmarks.sac_recipe import CheckpointFolder, MediumRecipe, MediumReplayRecipe, SacTraining, replay_episodes
from benchmarks.waypoint import WaypointController, WaypointRecipe, shortest_path
from sb3_gac.data.minari import load_minari

MAZES = ["maze2d-umaze", "maze2d-medium", "maze2d-large"]
PENDULUM = Task("pendulum-medium", "Pendulum-v1", horizon=60, ref_min_score=-1500.0, ref_max_score=0.0)
# Passed by any two trajectories, so trained for 120 steps
SHORT_TRAINING = SacTraining(
    return_threshold=-1e6, n_returns=2, random_steps=50, net_arch=(8,), max_steps=1_000, checkpoint_steps=60
)


def maze_task(name):
    task = get_task(name)
    assert isinstance(task, MazeTask)
    return task


def collect(name, n_steps, seed, tmp_path):
    return list(WaypointRecipe(n_steps=n_steps).collect(get_task(name), seed, tmp_path))


def load(path):
    return list(minari.MinariDataset(path / "data").iterate_episodes())


def assert_same_episodes(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for field in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def n_steps_to(task, start, target):
    """Length of a shortest path, by flooding."""
    distances = {start: 0}
    queue = deque([start])
    while queue:
        row, column = queue.popleft()
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if task.layout[cell[0]][cell[1]] != "#" and cell not in distances:
                distances[cell] = distances[row, column] + 1
                queue.append(cell)
    return distances[target]


# The way-point controller


def test_the_only_way_through_the_umaze():
    path = shortest_path(maze_task("maze2d-umaze"), (3, 1), (1, 1))
    assert path == [(3, 2), (3, 3), (2, 3), (1, 3), (1, 2), (1, 1)]


@pytest.mark.parametrize("name", MAZES)
def test_paths_are_short_and_through_neighbouring_free_cells(name):
    task = maze_task(name)
    for start in task.free_cells:
        for target in task.free_cells:
            if start == target:
                continue
            path = shortest_path(task, start, target)
            assert path[-1] == target
            assert len(path) == n_steps_to(task, start, target)
            for (row, column), (next_row, next_column) in pairwise([start, *path]):
                assert abs(row - next_row) + abs(column - next_column) == 1
            assert set(path) <= set(task.free_cells)


def test_parted_cells():
    task = MazeTask("parted", "PointMaze_UMaze-v3", 10, 0.0, 1.0, ("#####", "# # #", "#####"), (1, 1))
    with pytest.raises(ValueError, match=r"no path from \(1, 1\) to \(1, 3\)"):
        shortest_path(task, (1, 1), (1, 3))


def test_the_force_is_that_of_a_damped_spring():
    task = maze_task("maze2d-umaze")
    controller = WaypointController(WaypointRecipe(), task, np.random.default_rng(0))
    controller.set_target((1, 2), (1, 1))
    # The target's centre is (-1, 1)
    assert controller.act(-0.5, 1.2, 0.3, -0.1) == (pytest.approx(-5.3), pytest.approx(-1.9), False)
    assert controller.act(-0.95, 1.05, 0.0, 0.0)[2]
    assert not controller.act(-0.92, 1.08, 0.0, 0.0)[2]


def test_waypoints_are_near_the_centres_and_the_last_is_one():
    task = maze_task("maze2d-large")
    controller = WaypointController(WaypointRecipe(), task, np.random.default_rng(0))
    offsets = []
    for _ in range(50):
        controller.set_target((1, 1), (7, 9))
        centers = np.array([task.cell_center(cell) for cell in shortest_path(task, (1, 1), (7, 9))])
        offsets.append(np.array(controller.waypoints) - centers)
    stacked = np.stack(offsets)
    assert not stacked[:, -1].any()
    assert 0.095 < np.abs(stacked[:, :-1]).max() <= 0.1
    assert abs(stacked[:, :-1].mean()) < 0.01


@pytest.mark.parametrize("name", MAZES)
def test_physics_and_rewards_are_those_of_the_evaluation_env(name, tmp_path):
    seed = 3
    episodes = collect(name, 1500, seed, tmp_path)
    env = make_env(name)
    observation, _ = env.reset(seed=seed)
    for episode in episodes:
        np.testing.assert_array_equal(episode.observations[0], observation)
        for step, action in enumerate(episode.actions):
            observation, reward, terminated, _, _ = env.step(action)
            np.testing.assert_array_equal(episode.observations[step + 1], observation)
            assert episode.rewards[step] == reward
            assert not terminated
    env.close()


@pytest.mark.parametrize("name", MAZES)
def test_every_trajectory_ends_where_its_target_is(name, tmp_path):
    task = maze_task(name)
    episodes = collect(name, 4000, 0, tmp_path)
    assert sum(map(len, episodes)) == 4000
    centers = np.array([task.cell_center(cell) for cell in task.free_cells])
    starts, targets = [], []
    for episode in episodes[:-1]:
        # The last action was taken where the target was reached
        distances = np.linalg.norm(centers - episode.observations[-2, :2], axis=1)
        assert distances.min() < 0.1
        starts.append(tuple(episode.observations[0, :2].round()))
        targets.append(int(distances.argmin()))
        assert len(episode) < task.horizon
    assert len(set(targets)) >= min(len(centers), 7)
    for episode, following in pairwise(episodes):
        np.testing.assert_array_equal(episode.observations[-1], following.observations[0])


def test_horizon_cuts(tmp_path):
    task = maze_task("maze2d-large")
    # A force too weak to arrive
    episodes = list(WaypointRecipe(n_steps=2000, gain=0.001, action_noise=0.0).collect(task, 0, tmp_path))
    assert [len(episode) for episode in episodes] == [800, 800, 400]


@pytest.mark.parametrize(
    ("gain", "saturated"),
    [
        # Noise alone is cut at two standard deviations, a force at its limit is lessened by half of the noise
        (0.0, 0.0455),
        (1e9, 0.5),
    ],
)
def test_action_noise(gain, saturated, tmp_path):
    recipe = WaypointRecipe(n_steps=4000, gain=gain, damping=0.0)
    actions = np.concatenate([episode.actions for episode in recipe.collect(get_task("maze2d-medium"), 0, tmp_path)])
    assert actions.dtype == np.float32
    assert np.abs(actions).max() == 1.0
    assert np.mean(np.abs(actions) == 1.0) == pytest.approx(saturated, abs=0.02)
    if gain == 0.0:
        # Of a normal distribution with deviation 0.5, clipped to [-1, 1]
        assert actions.std() == pytest.approx(0.480, abs=0.01)


def test_waypoints_need_a_maze(tmp_path):
    with pytest.raises(TypeError, match="way-points need a maze"):
        next(WaypointRecipe().collect(get_task("hopper-medium"), 0, tmp_path))


# The store


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
    trajectories = load_minari(path)
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
    assert sum(len(trajectory) for trajectory in load_minari(path)) == 100


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
    assert {"mujoco", "gymnasium-robotics"} <= set(metadata["versions"])


def test_the_environment_comes_back(tmp_path):
    path = generate_dataset("maze2d-large", n_steps=100, output=tmp_path)
    dataset = minari.MinariDataset(path / "data")
    env, expected = dataset.recover_environment(eval_env=True), make_env("maze2d-large")
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
    task = get_task("maze2d-umaze")
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
    assert all(isinstance(RECIPES[name], WaypointRecipe) for name in MAZES)


# SAC


def test_medium_replay_holds_everything_seen(tmp_path):
    episodes = list(MediumReplayRecipe(SHORT_TRAINING).collect(PENDULUM, 0, tmp_path))
    assert [len(episode) for episode in episodes] == [60, 60]
    for episode in episodes:
        assert episode.observations.shape == (61, 3)
        assert not episode.terminated
        # Env units: the pendulum's torque goes up to 2
        assert 1.0 < np.abs(episode.actions).max() <= 2.0
        env = PENDULUM.make_env()
        env.reset()
        angle = np.arctan2(episode.observations[0, 1], episode.observations[0, 0])
        env.unwrapped.state = np.array([angle, episode.observations[0, 2]])
        for step in range(60):
            observation, reward, _, truncated, _ = env.step(episode.actions[step])
            np.testing.assert_allclose(observation, episode.observations[step + 1], atol=1e-3)
            assert reward == pytest.approx(episode.rewards[step], abs=1e-2)
            assert truncated == (step == 59)


def test_training_stops_when_the_returns_pass(tmp_path, monkeypatch):
    # The means of two returns are made up: the sixth trajectory is the first to lift them over the threshold
    training = SacTraining(return_threshold=10.0, n_returns=2, random_steps=10_000, net_arch=(8,), max_steps=1_000)
    made_up = iter([0.0] * 5 + [25.0] * 10)

    def with_made_up_return(self, infos, dones=None):
        for info in infos:
            if "episode" in info:
                self.ep_info_buffer.append({"r": next(made_up), "l": 60})

    monkeypatch.setattr("stable_baselines3.SAC._update_info_buffer", with_made_up_return)
    assert len(list(replay_episodes(training.run(PENDULUM, 0, tmp_path)))) == 6


def test_training_that_fails(tmp_path):
    training = SacTraining(return_threshold=0.0, n_returns=2, random_steps=10_000, net_arch=(8,), max_steps=150)
    with pytest.raises(RuntimeError, match="did not pass a mean return of 0 within 150 steps"):
        training.run(PENDULUM, 0, tmp_path)


def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    training = SacTraining(
        return_threshold=-1e6, n_returns=4, random_steps=100, net_arch=(8,), max_steps=1_000, checkpoint_steps=100
    )
    save = CheckpointFolder.save

    def save_and_stop(self, model):
        save(self, model)
        raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointFolder, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        training.run(PENDULUM, 0, tmp_path)
    monkeypatch.undo()
    folder = tmp_path / "Pendulum-v1-seed0"
    assert [path.name for path in folder.iterdir()] == ["step_000000120"]
    before = list(replay_episodes(CheckpointFolder(folder, training).load(PENDULUM.make_env())))
    assert len(before) == 2

    model = training.run(PENDULUM, 0, tmp_path)
    after = list(replay_episodes(model))
    assert len(after) == 4
    assert_same_episodes(after[:2], before)
    assert not np.array_equal(after[2].observations[0], after[0].observations[0])
    # 120 steps before and 120 after it, and no update in the first 100; a stopped step is counted but not learnt from
    assert model._n_updates == pytest.approx(140, abs=2)
    assert [path.name for path in folder.iterdir()] == ["step_000000240"]


def test_finished_training_is_not_run_again(tmp_path, monkeypatch):
    first = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    monkeypatch.setattr("stable_baselines3.SAC.learn", lambda *args, **kwargs: pytest.fail("trained again"))
    again = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    assert_same_episodes(list(replay_episodes(first)), list(replay_episodes(again)))


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    with pytest.raises(ValueError, match="holds a training with other settings"):
        SacTraining(return_threshold=-1e6, n_returns=2, random_steps=50, net_arch=(8,)).run(PENDULUM, 0, tmp_path)


def test_medium_is_the_stochastic_policy(tmp_path):
    recipe = MediumRecipe(SHORT_TRAINING, n_steps=100)
    episodes = list(recipe.collect(PENDULUM, 0, tmp_path))
    assert [len(episode) for episode in episodes] == [60, 60]
    assert_same_episodes(episodes, list(recipe.collect(PENDULUM, 0, tmp_path)))
    model = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    set_random_seed(1)
    env = PENDULUM.make_env()
    observation, _ = env.reset(seed=1)
    np.testing.assert_array_equal(episodes[0].observations[0], observation)
    np.testing.assert_array_equal(episodes[0].actions[0], model.predict(observation)[0])
    assert not np.array_equal(episodes[0].actions[0], model.predict(observation, deterministic=True)[0])


def test_falls_are_terminations(tmp_path):
    training = SacTraining(return_threshold=-1.0, n_returns=3, random_steps=10_000, net_arch=(8,), max_steps=2_000)
    episodes = list(MediumReplayRecipe(training).collect(get_task("hopper-medium-replay"), 0, tmp_path))
    assert len(episodes) == 3
    for episode in episodes:
        assert episode.terminated
        assert episode.observations.shape == (len(episode) + 1, 11)
        assert episode.observations.dtype == np.float64


def test_command_makes_both_sets_of_one_training(tmp_path, monkeypatch, capsys):
    training = SacTraining(return_threshold=-1.0, n_returns=3, random_steps=10_000, net_arch=(8,), max_steps=2_000)
    monkeypatch.setitem(RECIPES, "hopper-medium", MediumRecipe(training))
    monkeypatch.setitem(RECIPES, "hopper-medium-replay", MediumReplayRecipe(training))
    output = ["--output", str(tmp_path)]
    main(["hopper-medium-replay", *output])
    monkeypatch.setattr("stable_baselines3.SAC.learn", lambda *args, **kwargs: pytest.fail("trained again"))
    main(["hopper-medium", "--steps", "50", *output])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gac/hopper-medium-replay-v0: 3 trajectories")
    for name in ("hopper-medium", "hopper-medium-replay"):
        dataset = minari.MinariDataset(dataset_path(name, tmp_path) / "data")
        assert dataset.recover_environment().spec == get_task(name).make_env().spec
        assert all(episode.terminations[-1] != episode.truncations[-1] for episode in dataset.iterate_episodes())
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert set(minari.list_local_datasets()) == {"gac/hopper-medium-v0", "gac/hopper-medium-replay-v0"}


def test_overflown_replay_buffer(tmp_path):
    model = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    model.replay_buffer.full = True
    with pytest.raises(ValueError, match="overflowed"):
        next(replay_episodes(model))
