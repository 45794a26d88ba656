"""Pictures of what a model has learnt, and how; they need Matplotlib, which comes with the extra ``plots``."""

from sb3_gac.asking import AskedReturns, ask_for_returns
from sb3_gac.plots.asked_return import plot_asked_returns
from sb3_gac.plots.callback import PlotCallback, draw_plan_map
from sb3_gac.plots.curve import Curve, plot_curves, read_curve
from sb3_gac.plots.elbo import plot_elbo, read_progress
from sb3_gac.plots.figure import make_figure, save_figure
from sb3_gac.plots.interval import Interval, bootstrap_interval
from sb3_gac.plots.maze import Maze, plot_maze
from sb3_gac.plots.plan_map import PlanMap, infer_plan_map, plot_plan_map
from sb3_gac.plots.rollout import Rollout, roll_out

__all__ = [
    "AskedReturns",
    "Curve",
    "Interval",
    "Maze",
    "PlanMap",
    "PlotCallback",
    "Rollout",
    "ask_for_returns",
    "bootstrap_interval",
    "draw_plan_map",
    "infer_plan_map",
    "make_figure",
    "plot_asked_returns",
    "plot_curves",
    "plot_elbo",
    "plot_maze",
    "plot_plan_map",
    "read_curve",
    "read_progress",
    "roll_out",
    "save_figure",
]
