"""The terms of the evidence lower bound over training."""

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_gac.plots.figure import INK, STEPS, make_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPDATES = "train/n_updates"
# Names of the logger, and what they are
TERMS = {
    "train/action_log_prob": "action log-likelihood (nats)",
    "train/return_log_prob": "return log-likelihood (nats)",
    "train/kl": "KL from the prior (nats)",
    "train/kl_coef": "weight of the KL",
}


def read_progress(path: str | Path) -> dict[str, np.ndarray]:
    """
    The columns of what SB3's logger has written, NaN where a row has no number.

    :param path: ``progress.csv``, or the folder that ``configure(folder, ["csv", ...])`` was given.
    :raises FileNotFoundError: when it is not there.
    :raises ValueError: when it has no rows.
    """
    file = Path(path) / "progress.csv" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f'{file} is not there: log with model.set_logger(configure(folder, ["csv"]))')
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        names = reader.fieldnames or []
    if not rows:
        raise ValueError(f"{file} has no rows: nothing was logged")
    return {name: np.array([_number(row[name]) for row in rows]) for name in names}


def plot_elbo(path: str | Path, title: str = "") -> "Figure":
    """
    Draw the terms of the evidence lower bound, and the weight of the divergence, over the gradient steps.

    :param path: See :func:`read_progress`.
    :param title: Title of the figure.
    :raises ValueError: when nothing of it was logged.
    :raises ImportError: when Matplotlib is missing.
    """
    progress = read_progress(path)
    if lacking := [name for name in (UPDATES, *TERMS) if name not in progress]:
        raise ValueError(f"{path} has no {', '.join(lacking)}: no gradient step of GAC was logged")
    is_update = np.isfinite(progress[UPDATES])
    updates = progress[UPDATES][is_update]
    figure = make_figure(width=8.4, height=5.2, title=title)
    for axes, (name, label) in zip(figure.subplots(2, 2, sharex=True).flat, TERMS.items(), strict=True):
        is_marked = len(updates) <= 40
        axes.plot(updates, progress[name][is_update], color=INK, linewidth=1.5, marker="o" if is_marked else "", markersize=3)
        tidy(axes, "gradient steps" if axes.get_subplotspec().is_last_row() else "", label)
        axes.xaxis.set_major_formatter(STEPS)
    return figure


def _number(text: str | None) -> float:
    try:
        return float(text or math.nan)
    except ValueError:  # some log words
        return math.nan
