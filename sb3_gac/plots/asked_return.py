"""What was asked for against what came of it."""

from typing import TYPE_CHECKING

import numpy as np

from sb3_gac.asking import AskedReturns
from sb3_gac.plots.figure import GREY, INK, make_figure, tidy
from sb3_gac.plots.interval import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_asked_returns(asked_returns: AskedReturns, title: str = "") -> "Figure":
    """
    Draw the returns that episodes had over those that were asked for, with the 95 % bootstrap interval of each mean.

    :param asked_returns: What :func:`~sb3_gac.asking.ask_for_returns` has found.
    :param title: Title of the figure.
    :raises ImportError: when Matplotlib is missing.
    """
    figure = make_figure(width=6.0, height=5.2)
    axes = figure.subplots()
    asked, achieved = asked_returns.asked, asked_returns.achieved
    if asked_returns.known is not None:
        axes.axhspan(*asked_returns.known, color=GREY, alpha=0.12, linewidth=0, label="returns of the known trajectories")
    ends = [float(asked.min()), float(asked.max())]
    axes.plot(ends, ends, "--", color=GREY, linewidth=1.3, label="achieved = asked")
    axes.plot(np.repeat(asked, achieved.shape[1]), achieved.ravel(), ".", color=INK, alpha=0.35, label="episodes")
    intervals = [bootstrap_interval(returns) for returns in achieved]
    means = np.array([interval.mean for interval in intervals])
    below, above = means - [interval.low for interval in intervals], [interval.high for interval in intervals] - means
    axes.errorbar(asked, means, (below, above), color=INK, marker="o", capsize=3, linewidth=1.6, label="mean, 95 % interval")
    tidy(axes, "return asked for", "return achieved")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
