"""Figures of a report: learning curves, cost, calibration and ablations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.job import Row
from benchmarks.summary import Method, Summary, score_of, seed_interval
from sb3_gac.plots.figure import GREY, make_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct for colour-blind readers as well; what comes after them is dashed
COLORS = ("#1f4e8c", "#d1603d", "#3b8f5a", "#8a5aa8", "#c99700", "#4aa3c0", "#7a7f87", "#b0456f")

Curve = list[tuple[float, float, float, float]]


def curves_of(points: Sequence[Row], x: str) -> dict[str, dict[str, dict[Method, Curve]]]:
    """
    Learning curves by phase, task and method: at each evaluation, x and the mean over the seeds with its interval.

    :param points: evaluations of many runs.
    :param x: "timesteps" or "cpu_seconds", whose mean over the seeds is taken.
    :return: by phase, by task, by method: (x, mean, low, high) of each evaluation that all seeds of the method have; over
        timesteps, online curves start with the last evaluation of the offline phase.
    """
    runs: dict[tuple[str, str, Method], dict[str, list[Row]]] = {}
    for point in points:
        method = Method(point["algo"], point.get("variant", ""), point["phase"])
        runs.setdefault((point["phase"], point["task"], method), {}).setdefault(point["seed"], []).append(point)
    curves: dict[str, dict[str, dict[Method, Curve]]] = {}
    for (phase, task, method), of_seeds in runs.items():
        if phase == "online" and x == "timesteps":
            of_seeds = _with_starts(of_seeds, runs.get(("offline", task, replace(method, phase="offline")), {}))
        curve: Curve = []
        for evaluations in zip(*of_seeds.values(), strict=False):
            interval = seed_interval([score_of(point) for point in evaluations])
            curve.append((float(np.mean([float(point[x]) for point in evaluations])), *interval))
        curves.setdefault(phase, {}).setdefault(task, {})[method] = curve
    return curves


def _with_starts(online: Mapping[str, list[Row]], offline: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Evaluations by seed; what is learnt online starts where the offline phase of the same seed ended."""
    if not online.keys() <= offline.keys():
        return dict(online)
    return {seed: [{**offline[seed][-1], "timesteps": "0"}, *evaluations] for seed, evaluations in online.items()}


def plot_curves(
    curves: Mapping[str, Mapping[Method, Curve]], path: Path, title: str, x_label: str, is_log: bool = False
) -> None:
    """
    Draw learning curves with their intervals, a panel per task.

    :param curves: by task and method, see :func:`curves_of`.
    :param path: the PNG file.
    :param title: title of the figure.
    :param x_label: what is on the horizontal axes.
    :param is_log: whether they are logarithmic.
    """
    methods = list(dict.fromkeys(method for of_task in curves.values() for method in of_task))
    figure, panels = _make_panels(len(curves), height=2.9)
    for axes, (task, of_task) in zip(panels, curves.items(), strict=True):
        for method, curve in of_task.items():
            index = methods.index(method)
            color, style = COLORS[index % len(COLORS)], "-" if index < len(COLORS) else "--"
            xs, means, lows, highs = np.array(curve).T
            axes.plot(xs, means, style, color=color, marker="o", markersize=3, linewidth=1.6, label=method.label)
            axes.fill_between(xs, lows, highs, color=color, alpha=0.15, linewidth=0)
        _decorate(axes, task, x_label, "score")
        if is_log:
            axes.set_xscale("log")
    handles = {label: handle for a in figure.axes for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def plot_ablations(summaries: Mapping[str, Mapping[Method, Summary]], phase: str, path: Path, title: str) -> None:
    """
    Draw the score of each ablation with its interval, a panel per task; a line shows the recipe.

    :param summaries: by task and method.
    :param phase: "offline" or "online".
    :param path: the PNG file.
    :param title: title of the figure.
    """
    panels = {}
    for task, of_task in summaries.items():
        chosen = {method: summary for method, summary in of_task.items() if method.phase == phase and method.algo == "gac"}
        if len(chosen) > 1:
            panels[task] = chosen
    n_bars = max(map(len, panels.values()))
    figure, all_axes = _make_panels(len(panels), height=0.6 + 0.28 * n_bars)
    for axes, (task, chosen) in zip(all_axes, panels.items(), strict=True):
        labels = [method.variant or "the recipe" for method in chosen]
        for y, (method, summary) in enumerate(chosen.items()):
            color = COLORS[1] if method.variant else COLORS[0]
            interval = summary.interval
            axes.barh(y, interval.mean, color=color, alpha=0.75)
            axes.plot([interval.low, interval.high], [y, y], color="black", linewidth=1.2)
            axes.plot(summary.scores, [y] * len(summary.scores), "o", color="black", markersize=2.5)
            if not method.variant:
                axes.axvline(interval.mean, color=COLORS[0], linewidth=1, linestyle=":")
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.invert_yaxis()
        _decorate(axes, task, "score", "")
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def plot_calibration(rows: Sequence[Row], path: Path, title: str) -> None:
    """
    Draw the return that was achieved against the one that was asked for, a panel per task and a line per seed.

    :param rows: of ``benchmarks.calibration``.
    :param path: the PNG file.
    :param title: title of the figure.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, panels = _make_panels(len(tasks), height=3.0)
    for axes, task in zip(panels, tasks, strict=True):
        seeds = list(dict.fromkeys(row["seed"] for row in rows if row["task"] == task))
        for color, seed in zip(COLORS * len(seeds), seeds, strict=False):
            of_seed = [row for row in rows if (row["task"], row["seed"]) == (task, seed)]
            asked, means, lows, highs = (
                [float(row[name]) for row in of_seed] for name in ("asked", "mean_return", "return_low", "return_high")
            )
            axes.plot(asked, means, "o-", color=color, markersize=4, label=f"seed {seed}")
            axes.fill_between(asked, lows, highs, color=color, alpha=0.15, linewidth=0)
        all_asked = [float(row["asked"]) for row in rows if row["task"] == task]
        ends = [min(all_asked), max(all_asked)]
        axes.plot(ends, ends, "--", color=GREY, linewidth=1, label="as asked")
        axes.legend(frameon=False, fontsize=8)
        _decorate(axes, task, "return asked for", "mean return achieved")
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _make_panels(n_panels: int, height: float) -> tuple["Figure", list["Axes"]]:
    """At most three beside each other."""
    n_columns = min(n_panels, 3)
    n_rows = -(-n_panels // n_columns)
    figure = make_figure(width=1.2 + 3.6 * n_columns, height=0.7 + height * n_rows)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes in panels[n_panels:]:
        axes.set_visible(False)
    return figure, panels[:n_panels]


def _decorate(axes: "Axes", title: str, x_label: str, y_label: str) -> None:
    tidy(axes, x_label, y_label)
    axes.set_title(title, fontsize=10)
