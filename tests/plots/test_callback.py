from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.logger import configure

from sb3_gac.plots import PlotCallback, make_figure

pytest.importorskip("matplotlib")


def read_images(folder: Path) -> dict[str, list[int]]:
    """The steps of all figures in the TensorBoard log of a folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


def test_figures_come_to_tensorboard_and_to_a_folder(
    small_gac: Any, diary_env: Any, make_dataset: Any, tmp_path: Path, capsys: Any
) -> None:
    model = small_gac(diary_env(), verbose=1)
    model.set_logger(configure(str(tmp_path), ["stdout", "log", "csv", "json", "tensorboard"]))
    drawn = []

    def draw(model: Any) -> Any:
        drawn.append(model.num_timesteps)
        return make_figure(1, 1)

    model.set_offline_data(make_dataset())
    callback = PlotCallback(4, {"one": draw, "two": draw}, save_path=tmp_path / "figures", verbose=1)
    model.learn_offline(None, 10, callback=callback, log_interval=3)
    assert drawn == [4, 4, 8, 8, 10, 10]
    # With the log that follows: the last one is written for them
    assert read_images(tmp_path) == {"plots/one": [6, 9, 10], "plots/two": [6, 9, 10]}
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == [f"{name}_{step}.png" for name in ("one", "two") for step in (10, 4, 8)]
    assert "one_4.png" in capsys.readouterr().out


def test_by_default_the_map_of_plans_is_drawn_online_too(small_gac: Any, diary_env: Any, tmp_path: Path) -> None:
    model = small_gac(diary_env(), tensorboard_log=str(tmp_path))
    model.learn(24, callback=PlotCallback(10), log_interval=None)
    assert read_images(tmp_path / "GAC_1") == {"plots/plan_map": [24]}


def test_learning_is_not_changed(small_gac: Any, diary_env: Any, make_dataset: Any) -> None:
    data, weights = make_dataset(), []
    for callback in (None, PlotCallback(2)):
        model = small_gac(diary_env()).learn_offline(data, 5, callback=callback)
        weights.append(th.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert th.equal(*weights)


def test_what_makes_no_sense_is_refused(diary_env: Any) -> None:
    with pytest.raises(ValueError, match="plot_freq must be at least 1, got 0"):
        PlotCallback(0)
    with pytest.raises(TypeError, match="for GAC, not for SAC"):
        SAC("MlpPolicy", diary_env(), buffer_size=10).learn(1, callback=PlotCallback(1))
