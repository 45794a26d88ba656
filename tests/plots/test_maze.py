from typing import Any

import numpy as np
import pytest

from sb3_gac.data import Trajectory
from sb3_gac.plots import Maze, plot_maze
from sb3_gac.plots.maze import positions_of

pytest.importorskip("matplotlib")

LAYOUT = ("####", "#  #", "####")


def test_cells_stand_where_the_simulation_has_them() -> None:
    maze = Maze(LAYOUT, cell_size=2.0)
    assert len(maze.walls) == 10
    assert maze.cell_center((1, 1)) == (-1.0, 0.0)
    assert maze.cell_center((0, 3)) == (3.0, 2.0)


def test_the_maze_of_an_environment_is_read() -> None:
    gymnasium_robotics = pytest.importorskip("gymnasium_robotics")
    import gymnasium as gym

    gym.register_envs(gymnasium_robotics)
    env = gym.make("PointMaze_UMaze-v3")
    env.reset(seed=0)
    maze = Maze.of(env)
    assert maze.layout == ("#####", "#   #", "### #", "#   #", "#####")
    unwrapped: Any = env.unwrapped
    assert maze.goal == tuple(unwrapped.goal)
    for cell in maze.walls:
        np.testing.assert_allclose(maze.cell_center(cell), unwrapped.maze.cell_rowcol_to_xy(np.array(cell)))
    env.close()
    with pytest.raises(ValueError, match="is no maze"):
        Maze.of(gym.make("CartPole-v1"))


def episode(positions: Any, total_return: float) -> Trajectory:
    observations = np.column_stack([positions, np.full(len(positions), 9.0)])
    rewards = np.append(np.zeros(len(positions) - 1), total_return)
    return Trajectory(observations, np.zeros((len(positions), 1)), rewards, terminated=True, truncated=False)


def test_the_position_is_the_achieved_goal_or_what_one_says() -> None:
    goals = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(positions_of(goals), [[1.0, 2.0]])
    np.testing.assert_array_equal(positions_of({"observation": 0 * goals, "achieved_goal": goals}), [[1.0, 2.0]])
    with pytest.raises(ValueError, match="no achieved_goal among the observations observation"):
        positions_of({"observation": goals})
    paths = {"a": [episode([[1.0, 2.0], [3.0, 4.0]], 1.0)]}
    figure = plot_maze(Maze(LAYOUT), paths, positions_of=lambda observations: observations[:, 1:])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [[2.0, 9.0], [4.0, 9.0]])


def test_a_figure_shows_walls_paths_and_goal() -> None:
    paths = [episode([[-0.5, 0.0], [0.5, 0.0]], 3.0), episode([[0.5, 0.0], [0.4, 0.1], [0.3, 0.0]], 1.0)]
    figure = plot_maze(Maze(LAYOUT, goal=(0.5, 0.0)), {"a": paths, "b": paths[:1]}, "title", max_return=10.0)
    first, second, colorbar = figure.axes
    assert len(first.patches) == len(second.patches) == 10 + 1  # walls, and the circle around the goal
    goal, *drawn = first.lines
    np.testing.assert_array_equal(goal.get_xydata(), [[0.5, 0.0]])
    np.testing.assert_array_equal(drawn[0].get_xydata(), paths[1].observations[:, :2])  # the worse one below
    np.testing.assert_array_equal(drawn[1].get_xydata(), paths[1].observations[:1, :2])
    np.testing.assert_array_equal(drawn[2].get_xydata(), paths[0].observations[:, :2])
    assert first.get_title() == "a\n2 plans, mean return 2"
    assert second.get_title() == "b\n1 plans, mean return 3"
    assert colorbar.get_ylim() == (0.0, 10.0)


def test_a_maze_without_trajectories_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one trajectory"):
        plot_maze(Maze(LAYOUT), {"a": []})
