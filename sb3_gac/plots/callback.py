"""Figures in the course of training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure as LoggedFigure

from sb3_gac.extra import require
from sb3_gac.gac import GAC
from sb3_gac.plots.figure import save_figure
from sb3_gac.plots.plan_map import infer_plan_map, plot_plan_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DrawFigure: TypeAlias = "Callable[[GAC], Figure]"

# What cannot show figures
WITHOUT_FIGURES = ("stdout", "log", "json", "csv")


def draw_plan_map(model: GAC) -> "Figure":
    """
    The map of plans of a model as it is.

    :param model: A model with a data set or a replay buffer.
    """
    return plot_plan_map(infer_plan_map(model))


class PlotCallback(BaseCallback):
    """
    Draw figures every so often, and at the end, for TensorBoard and for a folder.

    They appear in TensorBoard with the next log. Nothing is drawn before the first gradient step. What is drawn changes
    nothing of what is learnt, as long as the functions leave the global random numbers alone, as those of this package do.

    .. code-block:: python

        figures = {
            "plan_map": draw_plan_map,
            "target_return": lambda model: plot_target_returns(evaluate_target_returns(model, env)),
        }
        model.learn(10_000, callback=PlotCallback(2_000, figures))

    :param plot_freq: Timesteps (of all environments together), or gradient steps offline, between two drawings.
    :param figures: Functions that draw the model as it is, by the names of their figures; the map of plans by default.
    :param save_path: Folder for ``<name>_<timesteps>.png``; ``None`` writes no files.
    :param verbose: 1 tells of each file.
    :raises ImportError: when Matplotlib is missing.
    """

    model: GAC

    def __init__(
        self,
        plot_freq: int,
        figures: Mapping[str, DrawFigure] | None = None,
        save_path: str | Path | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        require("plots", "matplotlib")
        if plot_freq < 1:
            raise ValueError(f"plot_freq must be at least 1, got {plot_freq}")
        self.plot_freq = plot_freq
        self.figures = {"plan_map": draw_plan_map} if figures is None else dict(figures)
        self.save_path = None if save_path is None else Path(save_path)
        self._drawn_at = 0

    def _init_callback(self) -> None:
        if not isinstance(self.model, GAC):
            raise TypeError(f"PlotCallback is for GAC, not for {type(self.model).__name__}")

    def _on_training_start(self) -> None:
        self._drawn_at = self.model.num_timesteps

    def _on_step(self) -> bool:
        if self.num_timesteps - self._drawn_at >= self.plot_freq:
            self._draw()
        return True

    def _on_training_end(self) -> None:
        if self.num_timesteps > self._drawn_at:
            self._draw()
        if any(self._key(name) in self.logger.name_to_value for name in self.figures):
            self.model.dump_logs()  # nobody else will

    def _draw(self) -> None:
        if self.model._n_updates == 0:
            return
        self._drawn_at = self.num_timesteps
        for name, draw in self.figures.items():
            figure = draw(self.model)
            if self.save_path is not None:
                file = save_figure(figure, self.save_path / f"{name}_{self.num_timesteps}.png")
                if self.verbose > 0:
                    print(f"Drew {file}")
            self.logger.record(self._key(name), LoggedFigure(figure, close=True), exclude=WITHOUT_FIGURES)

    @staticmethod
    def _key(name: str) -> str:
        return f"plots/{name}"
