"""The benchmark tasks against D4RL's mazes, goals and reference scores."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

import gymnasium_robotics
from gymnasium_robotics.envs.maze import maps

from benchmarks.envs import TASKS, FixedGoal, MazeTask, Task, find_task

MAZES = ["maze2d-umaze", "maze2d-medium", "maze2d-large"]
# D4RL's own strings: '#' wall, 'O' free, 'G' goal
D4RL_MAZES = {
    "maze2d-umaze": r"#####\#GOO#\###O#\#OOO#\#####",
    "maze2d-medium": r"########\#OO##OO#\#OO#OOO#\##OOO###\#OO#OOO#\#O#OO#O#\#OOO#OG#\########",
    "maze2d-large": (
        r"############\#OOOO#OOOOO#\#O##O#O#O#O#\#OOOOOO#OOO#\#O####O###O#\#OO#O#OOOOO#\##O#O#O#O###\#OO#OOO#OGO#"
        r"\############"
    ),
}


def maze_task(name: str) -> MazeTask:
    task = TASKS[name]
    assert isinstance(task, MazeTask)
    return task


@pytest.fixture(autouse=True)
def mujoco_logs_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_there_are_nine_tasks():
    assert set(TASKS) == {*MAZES} | {
        f"{name}-{quality}" for name in ("hopper", "walker2d", "halfcheetah") for quality in ("medium", "medium-replay")
    }
    assert all(task.name == name for name, task in TASKS.items())


def test_unknown_task():
    with pytest.raises(ValueError, match=r"no benchmark task and no environment 'maze2d-huge'.*; tasks: maze2d-umaze"):
        find_task("maze2d-huge")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_normalized_score(task):
    assert task.normalized_score(task.ref_min_score) == 0.0
    assert task.normalized_score(task.ref_max_score) == 100.0
    middle = (task.ref_min_score + task.ref_max_score) / 2
    assert task.normalized_score(middle) == pytest.approx(50.0)
    assert task.normalized_score(2 * task.ref_max_score - task.ref_min_score) == pytest.approx(200.0)


def test_normalized_score_is_d4rl_s():
    # One step at the goal is 100 / (161.86 - 23.85) points
    umaze = TASKS["maze2d-umaze"]
    assert umaze.normalized_score(124.85) == pytest.approx(101 / 138.01 * 100)
    assert TASKS["hopper-medium"].normalized_score(0.0) == pytest.approx(0.6229, abs=1e-4)


@pytest.mark.parametrize("name", MAZES)
def test_mazes_are_those_of_d4rl(name):
    task = maze_task(name)
    rows = D4RL_MAZES[name].split("\\")
    row, column = task.goal_cell
    assert rows[row][column] == "G"
    assert ["".join("#" if tile == "#" else "O" for tile in line) for line in task.layout] == [
        line.replace("G", "O") for line in rows
    ]


@pytest.mark.parametrize(
    ("name", "maze_map"),
    [("maze2d-umaze", maps.U_MAZE), ("maze2d-medium", maps.MEDIUM_MAZE), ("maze2d-large", maps.LARGE_MAZE)],
)
def test_mazes_are_those_of_gymnasium_robotics(name, maze_map):
    task = maze_task(name)
    assert [[0 if cell == "g" else cell for cell in line] for line in task.maze_map] == maze_map
    assert task.goal_cell in task.free_cells


@pytest.mark.parametrize(
    ("name", "goal", "horizon", "n_free"),
    [
        # Centre of the cell, the maze's centre being the origin, y upwards
        ("maze2d-umaze", (-1.0, 1.0), 300, 7),
        ("maze2d-medium", (2.5, -2.5), 600, 26),
        ("maze2d-large", (3.5, -3.0), 800, 46),
    ],
)
def test_goal_and_horizon(name, goal, horizon, n_free):
    task = maze_task(name)
    assert task.horizon == horizon
    assert task.cell_center(task.goal_cell) == goal
    assert len(task.free_cells) == n_free
    env = task.make_env()
    maze = env.unwrapped
    for cell in task.free_cells:
        np.testing.assert_array_equal(maze.maze.cell_rowcol_to_xy(np.array(cell)), task.cell_center(cell))
    for seed in range(5):
        env.reset(seed=seed)
        np.testing.assert_array_equal(maze.goal, goal)
        np.testing.assert_array_equal(maze.model.site("target").pos[:2], goal)
    env.close()


@pytest.mark.parametrize("name", MAZES)
def test_spaces(name):
    env = TASKS[name].make_env()
    assert env.observation_space == gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    assert env.action_space == gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    observation, _ = env.reset(seed=0)
    point = env.unwrapped.point_env
    np.testing.assert_array_equal(observation, [*point.data.qpos, *point.data.qvel])
    env.close()


def test_starts_cover_the_free_cells_but_the_goal_s():
    task = maze_task("maze2d-umaze")
    env = task.make_env()
    cells = set()
    for seed in range(60):
        observation, info = env.reset(seed=seed)
        assert not info["success"]
        cell = tuple(env.unwrapped.maze.cell_xy_to_rowcol(observation[:2]))
        assert np.abs(observation[:2] - task.cell_center(cell)).max() <= 0.25
        assert not observation[2:].any()
        cells.add(cell)
    assert cells == set(task.free_cells) - {task.goal_cell}
    env.close()


@pytest.mark.parametrize(("distance", "reward"), [(0.0, 1.0), (0.44, 1.0), (0.46, 0.0)])
def test_reward_is_one_within_reach_of_the_goal(distance, reward):
    env = TASKS["maze2d-umaze"].make_env()
    env.reset(seed=0)
    x, y = env.unwrapped.goal
    env.unwrapped.point_env.set_state(np.array([x + distance, y]), np.zeros(2))
    observation, step_reward, terminated, truncated, _ = env.step(np.zeros(2, dtype=np.float32))
    np.testing.assert_allclose(observation, [x + distance, y, 0, 0], atol=1e-9)
    assert step_reward == reward
    assert not terminated and not truncated
    env.close()


def test_reaching_the_goal_ends_nothing_and_moves_nothing():
    env = TASKS["maze2d-umaze"].make_env()
    env.reset(seed=0)
    goal = env.unwrapped.goal.copy()
    env.unwrapped.point_env.set_state(goal, np.zeros(2))
    total = 0.0
    for step in range(1, 301):
        _, reward, terminated, truncated, _ = env.step(np.zeros(2, dtype=np.float32))
        total += float(reward)
        assert not terminated
        assert truncated == (step == 300)
    assert total == 300.0
    np.testing.assert_array_equal(env.unwrapped.goal, goal)
    env.close()


def test_walls_hold():
    env = TASKS["maze2d-umaze"].make_env()
    env.reset(seed=0, options={"reset_cell": np.array([3, 1])})
    for _ in range(200):
        observation, *_ = env.step(np.array([0.0, 1.0], dtype=np.float32))
    # The row above is a wall from y = -0.5 upwards; the ball's radius is 0.1
    assert observation[1] == pytest.approx(-0.6, abs=0.02)
    env.close()


def test_mazes_leave_no_files_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    TASKS["maze2d-large"].make_env().close()
    assert list(tmp_path.iterdir()) == []


def test_fixed_goal_refuses_a_maze_with_many_goals():
    gym.register_envs(gymnasium_robotics)
    with pytest.raises(ValueError, match="one goal cell, found 7"):
        FixedGoal(gym.make("PointMaze_UMaze-v3"))


@pytest.mark.parametrize(("name", "obs_dim", "action_dim"), [("hopper", 11, 3), ("walker2d", 17, 6), ("halfcheetah", 17, 6)])
def test_locomotion(name, obs_dim, action_dim):
    replay, medium = TASKS[f"{name}-medium-replay"], TASKS[f"{name}-medium"]
    assert (replay.env_id, replay.ref_min_score, replay.ref_max_score) == (
        medium.env_id,
        medium.ref_min_score,
        medium.ref_max_score,
    )
    assert type(medium) is Task
    env = medium.make_env()
    assert env.spec is not None and env.spec.max_episode_steps == 1000
    assert env.observation_space.shape == (obs_dim,)
    assert env.action_space == gym.spaces.Box(-1.0, 1.0, (action_dim,), np.float32)
    env.close()
