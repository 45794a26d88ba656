"""The way-point controller and the trajectories that it makes."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from benchmarks.envs import TASKS, MazeTask
from benchmarks.waypoint import WaypointRecipe, shortest_path

MAZES = ["maze2d-umaze", "maze2d-medium", "maze2d-large"]


def maze_task(name):
    task = TASKS[name]
    assert isinstance(task, MazeTask)
    return task


def collect(name, n_steps, seed, tmp_path):
    return list(WaypointRecipe(n_steps=n_steps).collect(TASKS[name], seed, tmp_path))


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
    target = np.array([-1.0, 1.0])
    force, is_reached = WaypointRecipe().act(np.array([-0.5, 1.2, 0.3, -0.1]), target)
    assert force == pytest.approx([-5.3, -1.9]) and not is_reached
    assert WaypointRecipe().act(np.array([-0.95, 1.05, 0.0, 0.0]), target)[1]
    assert not WaypointRecipe().act(np.array([-0.92, 1.08, 0.0, 0.0]), target)[1]


def test_waypoints_are_near_the_centres_and_the_last_is_one():
    task = maze_task("maze2d-large")
    rng = np.random.default_rng(0)
    centers = np.array([task.cell_center(cell) for cell in shortest_path(task, (1, 1), (7, 9))])
    offsets = np.stack([WaypointRecipe().waypoints(task, (1, 1), (7, 9), rng) - centers for _ in range(50)])
    assert not offsets[:, -1].any()
    assert 0.095 < np.abs(offsets[:, :-1]).max() <= 0.1
    assert abs(offsets[:, :-1].mean()) < 0.01


@pytest.mark.parametrize("name", MAZES)
def test_physics_and_rewards_are_those_of_the_evaluation_env(name, tmp_path):
    seed = 3
    episodes = collect(name, 1500, seed, tmp_path)
    env = TASKS[name].make_env()
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
    actions = np.concatenate([episode.actions for episode in recipe.collect(TASKS["maze2d-medium"], 0, tmp_path)])
    assert actions.dtype == np.float32
    assert np.abs(actions).max() == 1.0
    assert np.mean(np.abs(actions) == 1.0) == pytest.approx(saturated, abs=0.02)
    if gain == 0.0:
        # Of a normal distribution with deviation 0.5, clipped to [-1, 1]
        assert actions.std() == pytest.approx(0.480, abs=0.01)


def test_waypoints_need_a_maze(tmp_path):
    with pytest.raises(TypeError, match="way-points need a maze"):
        next(WaypointRecipe().collect(TASKS["hopper-medium"], 0, tmp_path))
