"""The learning curve that is shown with a model."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from stable_baselines3.common.monitor import get_monitor_files

from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.plots.curve import EVALUATIONS, Curve, read_evaluations
from sb3_gac.plots.figure import INK, count_steps, make_figure, save_figure, tidy

SMOOTHED_EPISODES = 20


@dataclass(frozen=True)
class LabelledCurve(Curve):
    """
    Returns of the run that a card tells of.

    :param label: What a point is.
    """

    label: str


def read_curve(source: str | Path | None, model: GAC) -> LabelledCurve | None:
    """
    The learning curve of a run.

    :param source: The ``evaluations.npz`` of an ``EvalCallback``, or the folder of it or of the files of a ``Monitor``;
        ``None`` takes the last episodes that the model has learnt in, of which it knows a hundred.
    :param model: The model.
    :return: ``None`` when there is no source and the model knows no episodes.
    :raises ValueError: when the source is not one of these.
    """
    if source is None:
        return _last_episodes(model)
    path = Path(source)
    file = path / EVALUATIONS if path.is_dir() else path
    if file.suffix == ".npz" and file.is_file():
        try:
            curve = read_evaluations(file)
        except ValueError as error:
            raise ValueError(f"learning_curve: {error}") from error
        return LabelledCurve(curve.timesteps, curve.returns, "mean and range of each evaluation")
    if path.is_dir() and get_monitor_files(str(path)):
        return _read_monitors(get_monitor_files(str(path)))
    raise ValueError(f"learning_curve must be evaluations.npz, or a folder of it or of monitor.csv files, not {path}")


def _read_monitors(files: list[str]) -> LabelledCurve:
    """The episodes of all environments in the order in which they ended; SB3's own reader needs pandas."""
    rows: list[tuple[float, float, float]] = []
    for file in files:
        with open(file, encoding="utf-8", newline="") as stream:
            try:
                start = float(json.loads(stream.readline().removeprefix("#"))["t_start"])  # "t" are seconds since then
                rows.extend((start + float(row["t"]), float(row["l"]), float(row["r"])) for row in csv.DictReader(stream))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"learning_curve: {file} is not what a Monitor writes: {error!r}") from error
    if not rows:
        raise ValueError(f"learning_curve: no episode has ended in {', '.join(files)}")
    _, lengths, returns = np.array(sorted(rows)).T
    return LabelledCurve(lengths.cumsum(), returns[:, None], "episodes of training")


def draw_curve(curve: LabelledCurve, title: str, file: Path) -> str | None:
    """
    Draw a learning curve, unless matplotlib is missing.

    :param curve: The curve.
    :param title: Title of the figure.
    :param file: The PNG file.
    :return: ``None``, or why there is no figure.
    """
    try:
        require("hub", "matplotlib")
    except ImportError as error:
        return str(error)
    figure = make_figure(width=6.4, height=3.8)
    axes = figure.subplots()
    means = curve.returns.mean(axis=1)
    if curve.returns.shape[1] > 1:
        axes.fill_between(curve.timesteps, curve.returns.min(1), curve.returns.max(1), color=INK, alpha=0.18, linewidth=0)
        axes.plot(curve.timesteps, means, color=INK, marker="o", markersize=3, label=curve.label)
    elif len(means) < 2 * SMOOTHED_EPISODES:
        axes.plot(curve.timesteps, means, color=INK, marker="o", markersize=4, label=curve.label)
    else:
        axes.plot(curve.timesteps, means, ".", color=INK, alpha=0.35, markersize=5, label=curve.label)
        smoothed = np.convolve(means, np.ones(SMOOTHED_EPISODES) / SMOOTHED_EPISODES, mode="valid")
        label = f"mean of {SMOOTHED_EPISODES} episodes"
        axes.plot(curve.timesteps[SMOOTHED_EPISODES - 1 :], smoothed, color=INK, linewidth=1.8, label=label)
    axes.set_title(title)
    tidy(axes, "environment steps", "return")
    count_steps(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    save_figure(figure, file)
    return None


def _last_episodes(model: GAC) -> LabelledCurve | None:
    episodes = list(model.ep_info_buffer or ())
    if len(episodes) < 2:
        return None
    # They end where the model stands, whatever came before them
    lengths = np.array([episode["l"] for episode in episodes])
    timesteps = model.num_timesteps - lengths.sum() + lengths.cumsum()
    returns = np.array([[episode["r"]] for episode in episodes])
    return LabelledCurve(timesteps, returns, f"the last {len(episodes)} episodes of training")
