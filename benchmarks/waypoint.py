"""Data of the point mazes: D4RL's way-point controller on its way to random targets."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
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
        controller = WaypointController(self, task, rng)
        env = task.make_env()
        env.reset(seed=seed)
        point = PointSimulator(env.unwrapped)
        n_left = self.n_steps
        while n_left > 0:
            noise = rng.normal(0.0, self.action_noise, size=(min(n_left, task.horizon), 2))
            start = point.cell
            others = [cell for cell in task.free_cells if cell != start]
            controller.set_target(start, others[rng.integers(len(others))])
            episode = self._drive(controller, point, noise)
            n_left -= len(episode)
            yield episode
        env.close()

    def _drive(self, controller: "WaypointController", point: "PointSimulator", noise: Array) -> Episode:
        max_steps = len(noise)
        observations = np.empty((max_steps + 1, 4))
        actions = np.empty((max_steps, 2), dtype=np.float32)
        point.observe(observations[0])
        n_steps = 0
        is_solved = False
        while n_steps < max_steps and not is_solved:
            # Plain floats: on two numbers NumPy would cost more than the physics
            force_x, force_y, is_solved = controller.act(*observations[n_steps].tolist())
            noise_x, noise_y = noise[n_steps].tolist()
            actions[n_steps] = (_clip(_clip(force_x) + noise_x), _clip(_clip(force_y) + noise_y))
            point.step(actions[n_steps])
            n_steps += 1
            point.observe(observations[n_steps])
        observations = observations[: n_steps + 1]
        return Episode(observations, actions[:n_steps], point.rewards(observations[1:]), terminated=False)


class WaypointController:
    """
    A proportional controller with damping that drives the point from way-point to way-point.

    One way-point per cell of a shortest path: somewhere near the centre of each cell, the very centre of the last.
    """

    def __init__(self, recipe: WaypointRecipe, task: MazeTask, rng: np.random.Generator) -> None:
        self.recipe, self.task, self.rng = recipe, task, rng
        self.waypoints: list[tuple[float, float]] = []
        self.index = 0

    def set_target(self, start: tuple[int, int], target: tuple[int, int]) -> None:
        """Plan the way from the cell the point is in to another."""
        centers = np.array([self.task.cell_center(cell) for cell in shortest_path(self.task, start, target)])
        noise = self.recipe.waypoint_noise
        centers[:-1] += self.rng.uniform(-noise, noise, size=centers[:-1].shape)
        self.waypoints = [(x, y) for x, y in centers.tolist()]
        self.index = 0

    def act(self, x: float, y: float, vx: float, vy: float) -> tuple[float, float, bool]:
        """The force towards the next way-point, not clipped, and whether the target is reached."""
        waypoint_x, waypoint_y = self.waypoints[self.index]
        is_near = math.hypot(waypoint_x - x, waypoint_y - y) < self.recipe.solve_threshold
        is_last = self.index == len(self.waypoints) - 1
        if is_near and not is_last:
            self.index += 1
        gain, damping = self.recipe.gain, self.recipe.damping
        return gain * (waypoint_x - x) - damping * vx, gain * (waypoint_y - y) - damping * vy, is_near and is_last


class PointSimulator:
    """The simulation of a point maze that was reset, without the layers around it, which cost more than the physics."""

    def __init__(self, maze_env: Any) -> None:
        self.maze_env, self.model, self.data = maze_env, maze_env.model, maze_env.data
        # Views, to be read from and written to at every step
        self.qpos, self.qvel, self.ctrl = self.data.qpos, self.data.qvel, self.data.ctrl

    @property
    def cell(self) -> tuple[int, int]:
        """(row, column) of the cell the point is in."""
        row, column = self.maze_env.maze.cell_xy_to_rowcol(self.qpos)
        return int(row), int(column)

    def step(self, action: Array) -> None:
        """Advance by one step of the environment: the same calls of MuJoCo, in the same order."""
        np.clip(self.qvel, -5.0, 5.0, out=self.qvel)
        mujoco.mj_forward(self.model, self.data)
        self.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)

    def observe(self, out: Array) -> None:
        """Write position and velocity, (4,)."""
        out[:2], out[2:] = self.qpos, self.qvel

    def rewards(self, observations: Array) -> Array:
        """The environment's rewards (n_steps,) for arriving at these observations (n_steps, 4)."""
        rewards: Array = self.maze_env.compute_reward(observations[:, :2], self.maze_env.goal, {})
        return rewards


def _clip(force: float) -> float:
    return min(max(force, -1.0), 1.0)
