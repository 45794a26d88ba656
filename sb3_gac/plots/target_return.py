"""Target returns against what came of them."""

from typing import TYPE_CHECKING

import numpy as np

from sb3_gac.evaluation import TargetReturnResult
from sb3_gac.plots.figure import GREY, INK, add_legend, make_figure, tidy
from sb3_gac.plots.interval import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_target_returns(result: TargetReturnResult, title: str = "") -> "Figure":
    """
    Draw the returns of episodes over their target returns, with the 95 % bootstrap interval of each mean.

    :param result: What :func:`~sb3_gac.evaluation.evaluate_target_returns` has found.
    :param title: Title of the figure.
    :raises ImportError: when Matplotlib is missing.
    """
    figure = make_figure(width=6.0, height=5.2, title=title)
    axes = figure.subplots()
    targets, returns = result.targets, result.returns
    if result.known is not None:
        axes.axhspan(*result.known, color=GREY, alpha=0.12, linewidth=0, label="returns of the known trajectories")
    ends = [float(targets.min()), float(targets.max())]
    axes.plot(ends, ends, "--", color=GREY, linewidth=1.3, label="return = target return")
    axes.plot(np.repeat(targets, returns.shape[1]), returns.ravel(), ".", color=INK, alpha=0.35, label="episodes")
    intervals = [bootstrap_interval(of_target) for of_target in returns]
    means = np.array([interval.mean for interval in intervals])
    below, above = means - [interval.low for interval in intervals], [interval.high for interval in intervals] - means
    axes.errorbar(targets, means, (below, above), color=INK, marker="o", capsize=3, linewidth=1.6, label="mean, 95 % interval")
    tidy(axes, "target return", "return")
    add_legend(figure, n_columns=2)
    return figure
