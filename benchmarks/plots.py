"""Figures of a run: how it learnt, and what plans do in a maze."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
import torch as th

from benchmarks.envs import MazeTask, Task
from benchmarks.extra import require
from sb3_gac import GAC
from sb3_gac.type_aliases import PlanState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WALL, GOAL, INK, GREY = "#4a5058", "#e8b50c", "#1f4e8c", "#7a7f87"
GOAL_RADIUS = 0.45
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
        for line_style, (label, value) in zip(("--", ":", "-."), (references or {}).items(), strict=False):
            axes.axhline(value, color=GREY, linestyle=line_style, linewidth=1.2, label=label)
        axes.set_xlabel(PHASES[phase])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
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
    with th.random.fork_rng():
        th.manual_seed(seed)
        sampled = [rollout for _ in range(3) for rollout in roll_out(model, envs, task.horizon, "prior", seed)]
        exploited = roll_out(model, envs, task.horizon, "exploit", seed)
        explored = [rollout for _ in range(3) for rollout in roll_out(model, envs, task.horizon, "explore", seed)]
    for env in envs:
        env.close()
    target = 0.0 if model.target_return is None or model.target_return.value is None else model.target_return.value
    panels = [
        ("sampled from the prior", sampled),
        ("exploited: largest predicted return", exploited),
        (f"explored: given a return of {target:.0f}", explored),
    ]
    best = max(rollout.total_return for _, rollouts in panels for rollout in rollouts)
    rows, columns = len(task.layout) - 1, len(task.layout[0]) - 1
    figure = make_figure(width=12.6, height=0.95 + 3.75 * rows / columns)
    all_axes = figure.subplots(1, 3)
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    # The brightest part of it does not show on white
    readable = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256)))
    # The same colours in every figure of the maze, as long as no return is above the reference
    colors = ScalarMappable(Normalize(0.0, max(best, task.ref_max_score)), cmap=readable)
    for axes, (label, rollouts) in zip(all_axes, panels, strict=True):
        _draw_maze(axes, task)
        for rollout in sorted(rollouts, key=lambda rollout: rollout.total_return):
            color = colors.to_rgba(np.array([rollout.total_return]))[0]
            axes.plot(*rollout.positions.T, color=color, linewidth=1.3, alpha=0.85, zorder=2)
            axes.plot(*rollout.positions[0], "o", color="white", markeredgecolor="black", markersize=5, zorder=4)
        mean = np.mean([rollout.total_return for rollout in rollouts])
        axes.set_title(f"{label}\n{len(rollouts)} plans, mean return {mean:.0f}", fontsize=9.5)
    figure.colorbar(colors, ax=all_axes, label="return of the episode", fraction=0.02, pad=0.01)
    figure.suptitle(f"{title}: plans followed from {n_starts} starts (circles) towards the goal (star)", fontsize=11)
    save_figure(figure, path)


@dataclass(frozen=True)
class Rollout:
    """
    Where a plan leads.

    :param positions: (n_steps + 1, 2), x and y.
    :param total_return: return of the episode.
    """

    positions: Array
    total_return: float


def roll_out(model: GAC, envs: Sequence[gym.Env[Any, Any]], n_steps: int, kind: str, seed: int) -> list[Rollout]:
    """
    Follow one plan in each maze for a whole episode.

    :param model: a trained model.
    :param envs: copies of the maze.
    :param n_steps: steps of an episode.
    :param kind: "prior" keeps a plan sampled from the prior, "exploit" and "explore" act as ``predict`` does.
    :param seed: of the starts: the same seed gives the same ones.
    """
    observations = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    state: Any = None
    if kind == "prior":
        state = PlanState(_sample_prior(model, observations), np.zeros(len(envs), dtype=np.int64))
    positions, returns = [observations[:, :2]], np.zeros(len(envs))
    for _ in range(n_steps):
        actions, state = model.predict(observations, state, deterministic=kind != "explore")
        if kind == "prior" and state.ages[0] == model.policy.actor.replan_freq:
            # The sampled plan is followed to the end: it starts again where another would take its place
            state = state._replace(ages=np.zeros_like(state.ages))
        steps = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        observations = np.stack([step[0] for step in steps])
        returns += [float(step[1]) for step in steps]
        positions.append(observations[:, :2])
    paths = np.stack(positions, axis=1)  # (n_envs, n_steps + 1, 2)
    return [Rollout(path, float(total)) for path, total in zip(paths, returns, strict=True)]


def _sample_prior(model: GAC, observations: Array) -> Array:
    actor = model.policy.actor
    with th.no_grad():
        features = actor.extract_features(actor.obs_to_tensor(observations)[0], at_start=True)
        prior = actor.model.plan_prior(features)
        plans: Array = prior.at(th.randn_like(prior.mean)).cpu().numpy()
    return plans


def _draw_maze(axes: "Axes", task: MazeTask) -> None:
    from matplotlib.patches import Circle, Rectangle

    for row, line in enumerate(task.layout):
        for column, tile in enumerate(line):
            if tile == "#":
                x, y = task.cell_center((row, column))
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=WALL, linewidth=0))
    # Within this distance the env gives its reward
    axes.add_patch(Circle(task.cell_center(task.goal_cell), GOAL_RADIUS, color=GOAL, alpha=0.3, linewidth=0))
    axes.plot(*task.cell_center(task.goal_cell), "*", color=GOAL, markeredgecolor="black", markersize=16, zorder=5)
    # Half of the outer walls is enough to see
    half_width, half_height = (len(task.layout[0]) - 1) / 2, (len(task.layout) - 1) / 2
    axes.set(xlim=(-half_width, half_width), ylim=(-half_height, half_height), aspect="equal", xticks=[], yticks=[])


def _add_score_axis(axes: "Axes", task: Task) -> None:
    """Normalised scores on the right: they are an affine map of the returns."""
    span = task.ref_max_score - task.ref_min_score

    def to_score(value: Any) -> Array:
        return 100.0 * (np.asarray(value) - task.ref_min_score) / span

    def to_return(score: Any) -> Array:
        return np.asarray(score) * span / 100.0 + task.ref_min_score

    axes.secondary_yaxis("right", functions=(to_score, to_return)).set_ylabel("normalised score")


def make_figure(width: float, height: float) -> "Figure":
    """
    An empty figure that needs no display.

    :param width: in inches.
    :param height: in inches.
    :raises ImportError: when Matplotlib is missing.
    """
    require("plots", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """
    Write a figure as a PNG file.

    :param figure: the figure.
    :param path: the file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
