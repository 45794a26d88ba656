"""Pictures of what a model has learnt, and how; they need Matplotlib, which comes with the extra ``plots``."""

from sb3_gac.evaluation import TargetReturnResult, evaluate_target_returns
from sb3_gac.plots.callback import PlotCallback, draw_plan_map
from sb3_gac.plots.curve import Curve, plot_curves, read_curve
from sb3_gac.plots.elbo import plot_elbo, read_progress
from sb3_gac.plots.figure import make_figure, save_figure
from sb3_gac.plots.interval import Interval, bootstrap_interval
from sb3_gac.plots.maze import Maze, plot_maze
from sb3_gac.plots.plan_map import PlanMap, infer_plan_map, plot_plan_map
from sb3_gac.plots.rollout import roll_out
from sb3_gac.plots.target_return import plot_target_returns

__all__ = [
    "Curve",
    "Interval",
    "Maze",
    "PlanMap",
    "PlotCallback",
    "TargetReturnResult",
    "bootstrap_interval",
    "draw_plan_map",
    "evaluate_target_returns",
    "infer_plan_map",
    "make_figure",
    "plot_curves",
    "plot_elbo",
    "plot_maze",
    "plot_plan_map",
    "plot_target_returns",
    "read_curve",
    "read_progress",
    "roll_out",
    "save_figure",
]
