"""Figures of a run: how it learnt, and what plans do in a maze."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.envs import MazeTask, Task
from sb3_gac import GAC
from sb3_gac.plots.figure import INK, count_steps, draw_references, make_figure, save_figure, tidy
from sb3_gac.plots.maze import Maze, plot_maze
from sb3_gac.plots.rollout import roll_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

PHASES = {"offline": "offline: gradient steps", "online": "online: environment steps"}


class CurvePoint(NamedTuple):
    """
    One evaluation in the course of a run.

    :param phase: "offline" or "online".
    :param timesteps: gradient steps of the offline phase, environment steps of the online phase.
    :param n_updates: gradient steps since the model was made.
    :param cpu_seconds: CPU seconds of training in this phase, evaluations left out.
    :param n_episodes: episodes of the evaluation.
    :param mean: mean return in env units.
    :param low: lower end of its 95 % bootstrap interval.
    :param high: upper end of it.
    :param score: normalised score of the mean; NaN where the task has no reference scores.
    """

    phase: str
    timesteps: int
    n_updates: int
    cpu_seconds: float
    n_episodes: int
    mean: float
    low: float
    high: float
    score: float


def plot_learning_curve(
    points: Sequence[CurvePoint], task: Task, path: Path, title: str, references: Mapping[str, float] | None = None
) -> None:
    """
    Draw the mean return of each evaluation, with its interval, one panel per phase.

    :param points: evaluations in the order they were made.
    :param task: what was learnt; without reference scores (NaN) there is no axis for the normalised score.
    :param path: the PNG file.
    :param title: title of the figure.
    :param references: returns in env units to compare with, drawn as horizontal lines with these labels.
    """
    phases = [phase for phase in PHASES if any(point.phase == phase for point in points)]
    figure = make_figure(width=2.2 + 3.2 * len(phases), height=3.6)
    all_axes = figure.subplots(1, len(phases), sharey=True, squeeze=False)[0]
    for axes, phase in zip(all_axes, phases, strict=True):
        curve = [point for point in points if point.phase == phase]
        steps = [point.timesteps for point in curve]
        if phase != phases[0]:  # it starts where the last one ended
            curve.insert(0, [point for point in points if point.phase == phases[0]][-1])
            steps.insert(0, 0)
        axes.fill_between(
            steps, [point.low for point in curve], [point.high for point in curve], color=INK, alpha=0.18, linewidth=0
        )
        axes.plot(steps, [point.mean for point in curve], color=INK, marker="o", markersize=4, linewidth=1.8, clip_on=False)
        draw_references(axes, references)
        tidy(axes, PHASES[phase], "")
        count_steps(axes)
        axes.set_xlim(left=0)
    all_axes[0].set_ylabel("return (mean, 95 % interval)")
    if references:
        all_axes[0].legend(frameon=False, fontsize=8)
    if not np.isnan(task.ref_max_score):
        _add_score_axis(all_axes[-1], task)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def plot_plans(model: GAC, task: MazeTask, path: Path, title: str, n_starts: int = 10, seed: int = 0) -> None:
    """
    Draw where plans lead: sampled from the prior, exploited, and explored given the target return.

    Each plan is followed in the real maze for a whole episode, from the same starts in the three panels.

    :param model: a trained model.
    :param task: the maze.
    :param path: the PNG file.
    :param title: title of the figure.
    :param n_starts: number of starts.
    :param seed: of the starts and of the samples.
    """
    envs = [task.make_env() for _ in range(n_starts)]
    target = 0.0 if model.target_return is None or model.target_return.value is None else model.target_return.value
    panels = {
        "sampled from the prior": roll_out(model, envs, task.horizon, "prior", seed, n_plans=3),
        "exploited: largest predicted return": roll_out(model, envs, task.horizon, "exploit", seed),
        f"explored: given a return of {target:.0f}": roll_out(model, envs, task.horizon, "explore", seed, n_plans=3),
    }
    for env in envs:
        env.close()
    maze = Maze(task.layout, task.cell_center(task.goal_cell))
    title = f"{title}: plans followed from {n_starts} starts (circles) towards the goal (star)"
    # The same colours in every figure of the maze, as long as no return is above the reference
    save_figure(plot_maze(maze, panels, title, task.ref_max_score), path)


def _add_score_axis(axes: "Axes", task: Task) -> None:
    """Normalised scores on the right: they are an affine map of the returns."""
    span = task.ref_max_score - task.ref_min_score

    def to_score(value: Any) -> Array:
        return 100.0 * (np.asarray(value) - task.ref_min_score) / span

    def to_return(score: Any) -> Array:
        return np.asarray(score) * span / 100.0 + task.ref_min_score

    axes.secondary_yaxis("right", functions=(to_score, to_return)).set_ylabel("normalised score")
