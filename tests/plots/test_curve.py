from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from sb3_gac.plots import Curve, bootstrap_interval, plot_curves, read_curve

pytest.importorskip("matplotlib")


def make_curve(timesteps: list[float], *episodes: list[float]) -> Curve:
    return Curve(np.array(timesteps), np.array(episodes).T)


def test_one_run_has_the_interval_of_its_episodes() -> None:
    figure = plot_curves({"a": make_curve([0, 10], [1, 5], [3, 5])}, references={"best": 9.0})
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 2], [10, 5]])
    band = axes.collections[0].get_paths()[0].vertices
    low, high = bootstrap_interval([1, 3])[1:]
    assert {(0.0, low), (0.0, high), (10.0, 5.0)} <= set(map(tuple, band))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "best"]
    assert axes.lines[1].get_ydata()[0] == 9.0


def test_runs_are_compared_where_all_of_them_have_been() -> None:
    runs = [make_curve([0, 10, 20], [0, 10, 20]), make_curve([5, 15], [5, 35])]
    figure = plot_curves({"a": runs, "b": make_curve([0], [7])})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[5, 5], [10, 15], [15, 25]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (2 runs)", "b"]
    colors = [line.get_color() for line in figure.axes[0].lines]
    assert colors[0] != colors[1]


def test_files_of_a_run_are_read(small_gac: Any, diary_env: Any, tmp_path: Path) -> None:
    env: gym.Env[Any, Any] = Monitor(diary_env())
    callback = EvalCallback(Monitor(diary_env()), n_eval_episodes=2, eval_freq=10, log_path=str(tmp_path), verbose=0)
    model = small_gac(env)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(20, callback=callback, log_interval=1)
    evaluated = read_curve(tmp_path)
    np.testing.assert_array_equal(evaluated.timesteps, [10, 20])
    np.testing.assert_array_equal(evaluated.returns, np.full((2, 2), 15.0))  # 1 + 2 + ... + 5
    trained = read_curve(tmp_path / "progress.csv")
    np.testing.assert_array_equal(trained.timesteps, [5, 10, 15, 20])
    np.testing.assert_array_equal(trained.returns, np.full((4, 1), 15.0))
    assert len(plot_curves({"a": [tmp_path, tmp_path / "evaluations.npz"]}).axes[0].lines[0].get_xdata()) == 2


def test_what_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="runs are empty"):
        plot_curves({})
    with pytest.raises(ValueError, match="no run of a"):
        plot_curves({"a": []})
    with pytest.raises(ValueError, match="runs of a have no timesteps in common"):
        plot_curves({"a": [make_curve([1], [1]), make_curve([2], [1])]})
    with pytest.raises(FileNotFoundError, match=r"no evaluations\.npz"):
        read_curve(tmp_path)
    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(2))
    with pytest.raises(ValueError, match="not what an EvalCallback writes"):
        read_curve(tmp_path)
    np.save(tmp_path / "array.npy", np.arange(2))
    for content in (b"", b"PK\x03\x04 cut off", (tmp_path / "array.npy").read_bytes()):
        (tmp_path / "evaluations.npz").write_bytes(content)
        with pytest.raises(ValueError, match="not what an EvalCallback writes"):
            read_curve(tmp_path)
    (tmp_path / "progress.csv").write_text("train/kl\n1\n")
    with pytest.raises(ValueError, match="rollout/ep_rew_mean"):
        read_curve(tmp_path / "progress.csv")
    for row in (",200", "nan,200", "5,"):
        (tmp_path / "progress.csv").write_text(f"rollout/ep_rew_mean,time/total_timesteps\n{row}\n")
        with pytest.raises(ValueError, match=r"progress\.csv: no episode was logged"):
            read_curve(tmp_path / "progress.csv")
    (tmp_path / "progress.csv").write_text("rollout/ep_rew_mean,time/total_timesteps\n5,200\n5,100\n")
    with pytest.raises(ValueError, match=r"progress\.csv: timesteps must not fall"):
        read_curve(tmp_path / "progress.csv")


@pytest.mark.parametrize(
    ("timesteps", "returns", "message"),
    [
        ([], [], "at least one point"),
        ([1, 2], [[1.0]], "returns must have shape"),
        ([2, 1], [[1.0], [1.0]], "must not fall"),
        ([1, np.nan], [[1.0], [1.0]], "must not fall"),
    ],
)
def test_a_curve_refuses_nonsense(timesteps: list[int], returns: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve(np.array(timesteps), np.array(returns))
