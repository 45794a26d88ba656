"""Data of the point mazes: D4RL's way-point controller on its way to random targets."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.envs import MazeTask, Task
from benchmarks.episode import Episode
from sb3_gac.type_aliases import Array


def shortest_path(task: MazeTask, start: tuple[int, int], target: tuple[int, int]) -> list[tuple[int, int]]:
    """
    Cells (row, column) of a shortest path by breadth-first search, without its start.

    :raises ValueError: when walls part the two.
    """
    free = set(task.free_cells)
    # From the target outwards, so that what is recorded is where to go next.
    next_cell = {target: target}
    queue = deque([target])
    while queue:
        row, column = cell = queue.popleft()
        for neighbour in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if neighbour in free and neighbour not in next_cell:
                next_cell[neighbour] = cell
                queue.append(neighbour)
    if start not in next_cell:
        raise ValueError(f"no path from {start} to {target} in {task.name}")
    path = [next_cell[start]]
    while path[-1] != target:
        path.append(next_cell[path[-1]])
    return path


@dataclass(frozen=True)
class WaypointRecipe:
    """
    One trajectory per random target; the point keeps its position and velocity from one to the next.

    A trajectory ends with the step taken where its target is reached, or at the task's horizon. The rewards are the
    evaluation environment's, whatever the target was. D4RL's recipe but for three things: rewards are one step later
    (the environment's own, of the observation after the step) and within its 0.45 instead of 0.5 of the goal; a
    target lies in another cell than the point, where D4RL's may be reached on the spot; the step between two
    trajectories is not recorded twice.

    :param n_steps: steps in all; the last trajectory is cut to fit. D4RL has 1, 2 and 4 million (umaze, medium, large).
    :param gain: force per distance from the next way-point.
    :param damping: force per velocity, against it.
    :param solve_threshold: distance at which a way-point counts as reached.
    :param action_noise: standard deviation of the noise on the clipped force, which is then clipped again.
    :param waypoint_noise: half the side of the square around a cell's centre that a way-point is drawn from. The
        target itself is a centre.
    """

    n_steps: int = 300_000
    gain: float = 10.0
    damping: float = 1.0
    solve_threshold: float = 0.1
    action_noise: float = 0.5
    waypoint_noise: float = 0.1

    description = "Way-point controller with noisy actions on its way to random targets, rewarded at the task's fixed goal."

    def collect(self, task: Task, seed: int, work_dir: Path) -> Iterator[Episode]:
        """Make the trajectories of a maze; an interrupted generation starts again, whatever the working directory."""
        if not isinstance(task, MazeTask):
            raise TypeError(f"way-points need a maze, {task.name} is none")
        rng = np.random.default_rng(seed)
        env = task.make_env()
        env.reset(seed=seed)
        maze_env: Any = env.unwrapped
        n_left = self.n_steps
        while n_left > 0:
            noise = rng.normal(0.0, self.action_noise, size=(min(n_left, task.horizon), 2))
            row, column = maze_env.maze.cell_xy_to_rowcol(maze_env.data.qpos)
            start = int(row), int(column)
            others = [cell for cell in task.free_cells if cell != start]
            waypoints = self.waypoints(task, start, others[rng.integers(len(others))], rng)
            observations, actions = self._drive(maze_env.point_env, waypoints, noise)
            rewards = maze_env.compute_reward(observations[1:, :2], maze_env.goal, {})
            n_left -= len(actions)
            yield Episode(observations, actions, rewards, terminated=False)
        env.close()

    def waypoints(self, task: MazeTask, start: tuple[int, int], target: tuple[int, int], rng: np.random.Generator) -> Array:
        """One (x, y) for each cell of a shortest path: somewhere near its centre, the very centre of the last."""
        centers = np.array([task.cell_center(cell) for cell in shortest_path(task, start, target)])
        centers[:-1] += rng.uniform(-self.waypoint_noise, self.waypoint_noise, size=centers[:-1].shape)
        return centers

    def act(self, observation: Array, waypoint: Array) -> tuple[Array, bool]:
        """The force (2,) of a damped spring towards a way-point, not clipped, and whether the way-point is reached."""
        position, velocity = observation[:2], observation[2:]
        distance = waypoint - position
        return self.gain * distance - self.damping * velocity, math.hypot(*distance) < self.solve_threshold

    def _drive(self, point_env: Any, waypoints: Array, noise: Array) -> tuple[Array, Array]:
        """
        Follow way-points, for as many steps as there is noise (max_steps, 2) at most.

        :param point_env: The point in its maze, without the layers around it, which cost more than the physics.
        :return: Observations (n_steps + 1, 4) and actions (n_steps, 2).
        """
        observations, actions = [np.concatenate([point_env.data.qpos, point_env.data.qvel])], []
        left = deque(waypoints)
        for noise_of_step in noise:
            force, is_reached = self.act(observations[-1], left[0])
            actions.append((force.clip(-1.0, 1.0) + noise_of_step).clip(-1.0, 1.0).astype(np.float32))
            observations.append(point_env.step(actions[-1])[0])
            if is_reached and len(left) == 1:
                break
            if is_reached:
                left.popleft()
        return np.stack(observations), np.stack(actions)
