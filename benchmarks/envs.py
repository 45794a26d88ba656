"""The benchmark tasks: their environments, horizons and D4RL reference scores."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import FilterObservation, FlattenObservation

from sb3_gac.data.minari import open_minari
from sb3_gac.extra import require

MAZE_MAPS = {
    "umaze": "##### #...# ###.# #...# #####",
    "medium": "######## #..##..# #..#...# ##...### #..#...# #.#..#.# #...#..# ########",
    "large": "############ #....#.....# #.##.#.#.#.# #......#...# #.####.###.# #..#.#.....# ##.#.#.#.### #..#...#...# "
    "############",
}
"""D4RL's mazes, their rows one after the other; ``#`` is a wall."""


class FixedGoal(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """
    Put the goal of a point maze, whose map holds one ``"g"``, at the very centre of that cell.

    Gymnasium-Robotics moves the goal by up to 0.25 in both directions at every reset. The benchmark observes no
    goal, so a goal that moves would be a hidden variable; D4RL's does not move.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        locations = env.unwrapped.maze.unique_goal_locations  # type: ignore[attr-defined]
        if len(locations) != 1:
            raise ValueError(f"FixedGoal needs a maze with one goal cell, found {len(locations)}")
        self.goal = np.array(locations[0])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        maze: Any = self.env.unwrapped
        maze.goal = self.goal.copy()
        maze.update_target_site_pos()
        observation["desired_goal"] = self.goal.copy()
        info["success"] = bool(maze.compute_reward(observation["achieved_goal"], self.goal, info))
        return observation, info


@dataclass(frozen=True)
class Task:
    """
    A benchmark task: an environment and the scale its returns are read on.

    :param name: name of the D4RL task.
    :param env_id: Gymnasium id of the environment.
    :param horizon: steps after which an episode is truncated.
    :param ref_min_score: return of D4RL's random policy (normalised score 0).
    :param ref_max_score: return of D4RL's expert (normalised score 100).
    :param dataset: a ``minari.MinariDataset`` whose environment it is, if any.
    """

    name: str
    env_id: str
    horizon: int
    ref_min_score: float
    ref_max_score: float
    dataset: Any = field(default=None, kw_only=True)

    def normalized_score(self, episode_return: float) -> float:
        """D4RL's normalised score of a return: 0 for the random reference, 100 for the expert's; not clipped."""
        return 100.0 * (episode_return - self.ref_min_score) / (self.ref_max_score - self.ref_min_score)

    def make_env(self) -> gym.Env[Any, Any]:
        """Build the evaluation environment."""
        if self.dataset is not None:
            env: gym.Env[Any, Any] = self.dataset.recover_environment(eval_env=True)
            return env
        return gym.make(self.env_id, max_episode_steps=self.horizon, disable_env_checker=True)


@dataclass(frozen=True)
class MazeTask(Task):
    """
    A point maze with a fixed goal and starts drawn over the other free cells.

    :param layout: the maze, one string per row; ``#`` is a wall.
    :param goal_cell: (row, column) of the goal.
    """

    layout: tuple[str, ...]
    goal_cell: tuple[int, int]

    @property
    def free_cells(self) -> list[tuple[int, int]]:
        """All cells (row, column) that are no wall, the goal's among them."""
        return [(row, column) for row, line in enumerate(self.layout) for column, tile in enumerate(line) if tile != "#"]

    @property
    def maze_map(self) -> list[list[int | str]]:
        """The map in Gymnasium-Robotics' encoding: 1 wall, 0 free, ``"g"`` goal."""
        maze_map: list[list[int | str]] = [[int(tile == "#") for tile in line] for line in self.layout]
        maze_map[self.goal_cell[0]][self.goal_cell[1]] = "g"
        return maze_map

    def cell_center(self, cell: tuple[int, int]) -> tuple[float, float]:
        """(x, y) of the centre of a cell (row, column), from the centre of the maze; y falls with the row."""
        return cell[1] + 0.5 - len(self.layout[0]) / 2, len(self.layout) / 2 - cell[0] - 0.5

    def make_env(self) -> gym.Env[Any, Any]:
        """Build the evaluation environment: observations (x, y, vx, vy), reward 1 within 0.45 of the goal."""
        import gymnasium_robotics

        gym.register_envs(gymnasium_robotics)
        env = gym.make(
            self.env_id,
            max_episode_steps=self.horizon,
            disable_env_checker=True,
            maze_map=self.maze_map,
            continuing_task=True,
            reset_target=False,
        )
        # The simulation is loaded: Gymnasium-Robotics would leave one such file in the temporary folder per env.
        os.remove(env.unwrapped.tmp_xml_file_path)  # type: ignore[attr-defined]
        return FlattenObservation(FilterObservation(FixedGoal(env), filter_keys=["observation"]))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        MazeTask("maze2d-umaze", "PointMaze_UMaze-v3", 300, 23.85, 161.86, tuple(MAZE_MAPS["umaze"].split()), (1, 1)),
        MazeTask("maze2d-medium", "PointMaze_UMaze-v3", 600, 13.13, 277.39, tuple(MAZE_MAPS["medium"].split()), (6, 6)),
        MazeTask("maze2d-large", "PointMaze_UMaze-v3", 800, 6.7, 273.99, tuple(MAZE_MAPS["large"].split()), (7, 9)),
        *(
            Task(f"{name}-{quality}", env_id, 1000, ref_min_score, ref_max_score)
            for name, env_id, ref_min_score, ref_max_score in (
                ("hopper", "Hopper-v5", -20.272305, 3234.3),
                ("walker2d", "Walker2d-v5", 1.629008, 4592.3),
                ("halfcheetah", "HalfCheetah-v5", -280.178953, 12135.0),
            )
            for quality in ("medium", "medium-replay")
        ),
    )
}
"""The nine benchmark tasks by name."""


# Stands for the environment that a data set names
OF_DATA = "data"


def find_task(env: str | None, data: str | None = None) -> Task:
    """
    A benchmark task, or what stands for one: an environment whose reference scores are NaN where nobody knows them.

    :param env: Name of a task or Gymnasium id; "data" for the environment that the data set names, which runs what its
        files say.
    :param data: Minari id or path.
    :raises ValueError: when there is no such environment, or none is named.
    """
    if env in TASKS:
        require("envs", "mujoco", "gymnasium_robotics")
        return TASKS[env]
    if env not in (None, OF_DATA):
        try:
            spec = gym.spec(env)
        except gym.error.Error as error:
            raise ValueError(f"no benchmark task and no environment {env!r}: {error}; tasks: {', '.join(TASKS)}") from error
        return Task(env, env, spec.max_episode_steps or -1, np.nan, np.nan)
    if env is None or data is None or Path(data).suffix in (".hdf5", ".h5"):
        raise ValueError(f"say which environment: {OF_DATA!r} is the one that a Minari data set names, if you trust its files")
    dataset = open_minari(data)
    if dataset.env_spec is None:
        raise ValueError(f"{data} names no environment: say which")
    metadata = dataset.storage.metadata
    references = (metadata.get("ref_min_score", np.nan), metadata.get("ref_max_score", np.nan))
    spec = dataset.env_spec
    return Task(dataset.id, spec.id, spec.max_episode_steps or -1, *references, dataset=dataset)
