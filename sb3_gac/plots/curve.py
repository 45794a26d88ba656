"""Learning curves of several runs."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sb3_gac.data.trajectory import error_context
from sb3_gac.plots.elbo import read_progress
from sb3_gac.plots.figure import CYCLE, GREY, STEPS, add_legend, make_figure, tidy
from sb3_gac.plots.interval import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATIONS, PROGRESS = "evaluations.npz", "progress.csv"
TIMESTEPS, TRAINING_RETURN = "time/total_timesteps", "rollout/ep_rew_mean"


@dataclass(frozen=True)
class Curve:
    """
    Returns of one run in the course of its training.

    :param timesteps: Timesteps of each point in rising order, of shape ``(n_points,)``.
    :param returns: Returns in env units, of shape ``(n_points, n_episodes)``.
    :raises ValueError: when there is no point, or the shapes do not belong together.
    """

    timesteps: np.ndarray
    returns: np.ndarray

    def __post_init__(self) -> None:
        if self.timesteps.ndim != 1 or len(self.timesteps) == 0:
            raise ValueError(f"timesteps must have shape (n_points,) with at least one point, got {self.timesteps.shape}")
        if self.returns.ndim != 2 or len(self.returns) != len(self.timesteps) or self.returns.shape[1] == 0:
            expected = f"({len(self.timesteps)}, n_episodes)"
            raise ValueError(f"returns must have shape {expected}, got {self.returns.shape}")
        if not (np.diff(self.timesteps) >= 0).all():
            raise ValueError("timesteps must not fall")


CurveSource: TypeAlias = Curve | str | Path


def read_curve(path: str | Path) -> Curve:
    """
    Read the learning curve of a run.

    :param path: ``evaluations.npz`` of an ``EvalCallback``, ``progress.csv`` of a logger, whose mean return of training
        episodes is taken, or a folder with one of them.
    :raises FileNotFoundError: when there is none.
    :raises ValueError: when the file is not one of these.
    """
    given = Path(path)
    files = [given] if not given.is_dir() else [given / name for name in (EVALUATIONS, PROGRESS) if (given / name).is_file()]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"there is no {EVALUATIONS} and no {PROGRESS} at {given}")
    file = files[0]
    if file.suffix == ".npz":
        return read_evaluations(file)
    progress = read_progress(file)
    nothing = np.full(1, np.nan)
    timesteps, returns = (progress.get(name, nothing) for name in (TIMESTEPS, TRAINING_RETURN))
    is_logged = np.isfinite(timesteps) & np.isfinite(returns)
    if not is_logged.any():
        raise ValueError(f"{file}: no episode was logged as {TRAINING_RETURN}, or no Monitor is around the env")
    with error_context(str(file)):
        return Curve(timesteps[is_logged], returns[is_logged, None])


def read_evaluations(file: Path) -> Curve:
    """
    Read what an ``EvalCallback`` has written.

    :param file: ``evaluations.npz``.
    :raises ValueError: when the file is not that.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return Curve(arrays["timesteps"], arrays["results"])
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is not what an EvalCallback writes: {error}") from error


def plot_curves(
    runs: Mapping[str, CurveSource | Sequence[CurveSource]],
    title: str = "",
    references: Mapping[str, float] | None = None,
    x_label: str = "environment steps",
) -> "Figure":
    """
    Draw learning curves, and the 95 % bootstrap interval around them.

    The interval of several runs is that of the mean over runs, the interval of one is that of the mean over its episodes.
    Runs with the same label are compared where all of them have been, between their points on straight lines.

    :param runs: For each label a run or several, with different seeds; see :func:`read_curve` for what a run is.
    :param title: Title of the figure.
    :param references: Returns in env units to compare with, drawn as horizontal lines with these labels; three at most.
    :param x_label: What a timestep is.
    :raises ValueError: when there is no run, or runs with the same label have no timesteps in common.
    :raises ImportError: when Matplotlib is missing.
    """
    if not runs:
        raise ValueError("runs are empty, expected at least one")
    figure = make_figure(width=6.8, height=4.2, title=title)
    axes = figure.subplots()
    for index, (label, of_label) in enumerate(runs.items()):
        sources = [of_label] if isinstance(of_label, CurveSource) else list(of_label)
        curves = [source if isinstance(source, Curve) else read_curve(source) for source in sources]
        timesteps, samples = _align(label, curves)
        intervals = np.array([bootstrap_interval(values) for values in samples])  # (n_points, 3)
        color = CYCLE[index % len(CYCLE)]
        n_runs = f" ({len(curves)} runs)" if len(curves) > 1 else ""
        axes.fill_between(timesteps, intervals[:, 1], intervals[:, 2], color=color, alpha=0.18, linewidth=0)
        marker = "o" if len(timesteps) <= 40 else ""
        axes.plot(
            timesteps, intervals[:, 0], color=color, marker=marker, markersize=3.5, linewidth=1.7, label=f"{label}{n_runs}"
        )
    for line_style, (name, value) in zip(("--", ":", "-."), (references or {}).items(), strict=False):
        axes.axhline(value, color=GREY, linestyle=line_style, linewidth=1.2, label=name)
    tidy(axes, x_label, "return (mean, 95 % interval)")
    axes.xaxis.set_major_formatter(STEPS)
    axes.set_xlim(left=0)
    add_legend(figure)
    return figure


def _align(label: str, curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps, and the values at each of them that a mean is taken of: of runs if there are several, else of episodes."""
    if not curves:
        raise ValueError(f"there is no run of {label}")
    if len(curves) == 1:
        return curves[0].timesteps, curves[0].returns
    first, last = max(curve.timesteps[0] for curve in curves), min(curve.timesteps[-1] for curve in curves)
    timesteps = np.unique(np.concatenate([curve.timesteps for curve in curves]))
    timesteps = timesteps[(timesteps >= first) & (timesteps <= last)]
    if len(timesteps) == 0:
        raise ValueError(f"the runs of {label} have no timesteps in common")
    means = [np.interp(timesteps, curve.timesteps, curve.returns.mean(axis=1)) for curve in curves]
    return timesteps, np.stack(means, axis=1)
