"""Trajectories over the walls of a maze."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from sb3_gac.data.trajectory import Observations, Trajectory
from sb3_gac.plots.figure import color_by_return, make_figure
from sb3_gac.type_aliases import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WALL, GOAL = "#4a5058", "#e8b50c"
# Gymnasium-Robotics gives its reward within this distance, in cells
GOAL_RADIUS = 0.45


@dataclass(frozen=True)
class Maze:
    """
    Walls, and where to go.

    :param layout: One string per row; ``#`` is a wall.
    :param goal: x and y of the goal; ``None`` for a maze without one.
    :param cell_size: Width of a cell in the simulation.
    :param goal_radius: Distance from the goal that counts as there, in the units of the simulation.
    """

    layout: tuple[str, ...]
    goal: tuple[float, float] | None = None
    cell_size: float = 1.0
    goal_radius: float = GOAL_RADIUS

    @staticmethod
    def of(env: gym.Env[Any, Any]) -> "Maze":
        """
        The maze of a Gymnasium-Robotics environment, with its goal as it stands now.

        :param env: Such as ``PointMaze_UMaze-v3``, wrapped or not, after a reset.
        :raises ValueError: when it is no maze.
        """
        unwrapped: Any = env.unwrapped
        maze = getattr(unwrapped, "maze", None)
        if maze is None or not hasattr(maze, "maze_map"):
            raise ValueError(f"{unwrapped} is no maze of Gymnasium-Robotics")
        layout = tuple("".join("#" if tile == 1 else " " for tile in row) for row in maze.maze_map)
        goal = getattr(unwrapped, "goal", None)
        size = float(maze.maze_size_scaling)
        return Maze(layout, None if goal is None else (float(goal[0]), float(goal[1])), size, GOAL_RADIUS)

    @property
    def walls(self) -> list[tuple[int, int]]:
        """The cells (row, column) that are walls."""
        return [(row, column) for row, line in enumerate(self.layout) for column, tile in enumerate(line) if tile == "#"]

    def cell_center(self, cell: tuple[int, int]) -> tuple[float, float]:
        """
        Position of the centre of a cell in the simulation.

        :param cell: (row, column).
        :return: (x, y); x grows with the column, y falls with the row, the origin is the centre of the maze.
        """
        rows, columns = len(self.layout), len(self.layout[0])
        return self.cell_size * (cell[1] + 0.5 - columns / 2), self.cell_size * (rows / 2 - cell[0] - 0.5)


def positions_of(observations: Observations) -> Array:
    """
    Positions in the plane: the achieved goals where there are any, else the first two numbers of the observations.

    :param observations: Observations of an episode, of shape ``(n_steps, *obs_shape)``, or a dict of such arrays.
    :return: x and y, of shape ``(n_steps, 2)``.
    """
    if isinstance(observations, dict):
        if "achieved_goal" not in observations:
            raise ValueError(f"no achieved_goal among the observations {', '.join(observations)}: give positions_of")
        observations = observations["achieved_goal"]
    return observations[:, :2]


def plot_maze(
    maze: Maze,
    panels: Mapping[str, Sequence[Trajectory]],
    title: str = "",
    max_return: float | None = None,
    positions_of: Callable[[Observations], Array] = positions_of,
) -> "Figure":
    """
    Draw trajectories over the walls, coloured by their returns, from their starts (circles) towards the goal (star), if any.

    :param maze: The maze.
    :param panels: Trajectories by the label of the panel that they are drawn in.
    :param title: Title of the figure.
    :param max_return: The return of the lightest colour, if none is larger: the same in figures to compare.
    :param positions_of: Positions in the plane of the observations of an episode.
    :raises ValueError: when there is no trajectory.
    :raises ImportError: when Matplotlib is missing.
    """
    returns = [trajectory.total_return for trajectories in panels.values() for trajectory in trajectories]
    if not returns:
        raise ValueError("panels are empty, expected at least one trajectory")
    rows, columns = len(maze.layout) - 1, len(maze.layout[0]) - 1
    figure = make_figure(width=0.6 + 4.0 * len(panels), height=1.1 + 3.75 * rows / columns, title=title)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    high = max(returns) if max_return is None else max(*returns, max_return)
    low = min(0.0, *returns)
    colors: Any = color_by_return(low, high if high > low else low + 1.0)
    for axes, (label, trajectories) in zip(all_axes, panels.items(), strict=True):
        draw_maze(axes, maze)
        for trajectory in sorted(trajectories, key=lambda trajectory: trajectory.total_return):
            positions = positions_of(trajectory.observations)
            axes.plot(*positions.T, color=colors.to_rgba(trajectory.total_return), linewidth=1.3, alpha=0.85, zorder=2)
            axes.plot(*positions[0], "o", color="white", markeredgecolor="black", markersize=5, zorder=4)
        mean = np.mean([trajectory.total_return for trajectory in trajectories]) if trajectories else np.nan
        axes.set_title(f"{label}\n{len(trajectories)} plans, mean return {mean:.3g}", fontsize=9.5)
    figure.colorbar(colors, ax=list(all_axes), label="return of the episode", fraction=0.02 * 3 / len(panels), pad=0.01)
    return figure


def draw_maze(axes: "Axes", maze: Maze) -> None:
    """
    Draw walls and goal.

    :param axes: The axes; they show the maze and no ticks.
    :param maze: The maze.
    """
    from matplotlib.patches import Circle, Rectangle

    size = maze.cell_size
    for cell in maze.walls:
        x, y = maze.cell_center(cell)
        axes.add_patch(Rectangle((x - size / 2, y - size / 2), size, size, color=WALL, linewidth=0))
    if maze.goal is not None:
        axes.add_patch(Circle(maze.goal, maze.goal_radius, color=GOAL, alpha=0.3, linewidth=0))
        axes.plot(*maze.goal, "*", color=GOAL, markeredgecolor="black", markersize=16, zorder=5)
    # Half of the outer walls is enough to see
    half_width, half_height = (size * (len(tiles) - 1) / 2 for tiles in (maze.layout[0], maze.layout))
    axes.set(xlim=(-half_width, half_width), ylim=(-half_height, half_height), aspect="equal", xticks=[], yticks=[])
