"""
The figures of the documentation.

    python docs/draw.py                      the model, from nothing
    python docs/draw.py --demo runs/demo     and those of what `python -m benchmarks.demo` has learnt
    python examples/target_return.py             leaves the one of target returns in runs/target-return-example
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sb3_gac import GAC
from sb3_gac.plots import infer_plan_map, make_figure, plot_elbo, plot_plan_map, save_figure
from sb3_gac.plots.figure import EMBER, GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = Path(__file__).parent / "images"
PAPER, SHADE = "#ffffff", "#e6edf6"

Point: TypeAlias = tuple[float, float]


def draw_model() -> "Figure":
    """Who makes what from what: boxes are networks, circles what passes between them."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "path"}):
        figure = make_figure(width=9.6, height=4.3)
        figure.set_layout_engine("none")
        figure.set_facecolor(PAPER)  # readable on a dark page too
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, 19.2), ylim=(0, 8.6), aspect="equal")
        axes.axis("off")
        _circle(axes, 1.3, 4.4, "o₁", "first\nobservation")
        _box(axes, 4.9, 4.4, "PlanPrior", "p(z | o₁)")
        _circle(axes, 8.5, 4.4, "z", "plan", 0.75)
        _box(axes, 12.3, 6.6, "PlanDecoder", "π(aₜ | oₜ, z, t)")
        _box(axes, 12.3, 2.2, "ReturnPredictor", "p(y | z, o₁)")
        _circle(axes, 16.2, 6.6, "aₜ", "actions,\nto the end")
        _circle(axes, 16.2, 2.2, "y", "return")
        _box(axes, 8.5, 7.6, "PlanEncoder", "q(z | τ)", dashed=True)
        _box(axes, 8.5, 1.15, "inference", "exploit · explore · ask", EMBER)
        for start, end in (((1.95, 4.4), (3.4, 4.4)), ((6.4, 4.4), (7.75, 4.4)), ((9.05, 4.9), (10.8, 6.2))):
            _arrow(axes, start, end)
        _arrow(axes, (9.05, 3.9), (10.8, 2.6))
        _arrow(axes, (13.8, 6.6), (15.55, 6.6))
        _arrow(axes, (13.8, 2.2), (15.55, 2.2))
        _arrow(axes, (8.5, 6.95), (8.5, 5.15), dashed=True)
        _arrow(axes, (8.5, 1.8), (8.5, 3.65), EMBER)
        _arrow(axes, (16.2, 1.55), (10.05, 1.0), EMBER, bend=-0.2)
        axes.text(14.2, 0.2, "which plan returns the most, or as much as asked for?", color=EMBER, fontsize=8.5, ha="center")
        learning = "only while learning:\nthe plan behind a trajectory τ"
        axes.text(4.9, 7.6, learning, color=GREY, fontsize=8.5, ha="center", va="center")
    return figure


def draw_demo(folder: Path) -> None:
    """Draw what the demonstration has learnt offline."""
    model = GAC.load(folder / "model_offline", device="cpu")
    model.set_offline_data(next((folder / "data").glob("**/data")).parent)
    save_figure(plot_plan_map(infer_plan_map(model, use_noise=True)), IMAGES / "plan_map.png", dpi=110)
    save_figure(plot_elbo(folder / "offline"), IMAGES / "elbo.png", dpi=110)


def _box(axes: "Axes", x: float, y: float, name: str, formula: str, color: str = INK, dashed: bool = False) -> None:
    from matplotlib.patches import FancyBboxPatch

    edge, line_style = (GREY, "--") if dashed else (color, "-")
    box = FancyBboxPatch((x - 1.5, y - 0.6), 3.0, 1.2, "round,pad=0.05,rounding_size=0.25", facecolor=SHADE, edgecolor=edge)
    box.set(linestyle=line_style, linewidth=1.4)
    axes.add_patch(box)
    axes.text(x, y + 0.24, name, ha="center", va="center", fontsize=10, weight="bold", color=edge)
    axes.text(x, y - 0.27, formula, ha="center", va="center", fontsize=9, color="black")


def _circle(axes: "Axes", x: float, y: float, symbol: str, meaning: str, radius: float = 0.65) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=1.4))
    axes.text(x, y, symbol, ha="center", va="center", fontsize=13, color="black")
    x, y, side = {
        "o₁": (x, y - radius - 0.45, "center"),
        "z": (x - radius - 0.1, y - 0.7, "right"),
    }.get(symbol, (x + radius + 0.2, y, "left"))
    axes.text(x, y, meaning, ha=side, va="center", fontsize=8.5, color=GREY)


def _arrow(axes: "Axes", start: Point, end: Point, color: str = INK, dashed: bool = False, bend: float = 0.0) -> None:
    style = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0, "linewidth": 1.4}
    line_style = {"color": GREY, "linestyle": "--"} if dashed else {"color": color}
    axes.annotate("", end, start, arrowprops=style | line_style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="folder of a finished `python -m benchmarks.demo`")
    options = parser.parse_args()
    save_figure(draw_model(), IMAGES / "model.svg")
    if options.demo is not None:
        draw_demo(options.demo)


if __name__ == "__main__":
    main()
