"""Empty figures that need no display, the colours that all figures share, and files of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_gac.atomic import replace_when_complete
from sb3_gac.extra import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

INK, GREY, EMBER = "#1f4e8c", "#7a7f87", "#c8441b"
# Of the curves in one figure: told apart by colour-blind eyes, too
CYCLE = (INK, "#d98a1f", "#3a8f6b", "#a8497a", "#6f6fb5", "#8c6d3f")
STEPS = "{x:,.0f}"  # how Matplotlib writes numbers of steps


def make_figure(width: float, height: float, title: str = "") -> "Figure":
    """
    An empty figure that needs no display.

    :param width: In inches.
    :param height: In inches.
    :param title: Above everything in it.
    :raises ImportError: when Matplotlib is missing.
    """
    require("plots", "matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def save_figure(figure: "Figure", path: str | Path, dpi: int = 150) -> Path:
    """
    Write a figure to a file; one that is there is replaced when the new one is complete.

    :param figure: The figure.
    :param path: The file, whose ending names the format: ``.png``, ``.svg``, ``.pdf``; its folder is made.
    :param dpi: Pixels per inch.
    :return: The file.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(file) as partial:
        figure.savefig(partial, dpi=dpi, format=file.suffix.removeprefix(".") or "png")
    return file


def tidy(axes: "Axes", x_label: str, y_label: str) -> None:
    """
    Give axes their labels, a faint grid, and no frame where nothing is read.

    :param axes: The axes.
    :param x_label: What the first axis shows.
    :param y_label: What the second axis shows.
    """
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(figure: "Figure", n_columns: int = 3) -> None:
    """
    Name what all axes show, below them.

    :param figure: The figure.
    :param n_columns: Names in a row.
    """
    figure.legend(loc="outside lower center", ncols=n_columns, frameon=False, fontsize=8)


def color_by_return(low: float, high: float) -> "ScalarMappable":
    """
    The colours of returns, from dark to light.

    :param low: The return of the darkest.
    :param high: The return of the lightest.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    # The brightest part of it does not show on white
    readable = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256)))
    return ScalarMappable(Normalize(low, high), cmap=readable)
