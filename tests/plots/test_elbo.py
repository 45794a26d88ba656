from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.logger import configure

from sb3_gac.plots import plot_elbo, read_progress

pytest.importorskip("matplotlib")

PROGRESS = """\
rollout/ep_rew_mean,train/action_log_prob,train/return_log_prob,train/kl,train/kl_coef,train/n_updates,note
1.5,,,,,,hello
,-1.0,-2.0,3.0,0.5,10,
2.5,-0.5,-1.0,2.0,0.25,20,
"""


def test_rows_without_a_gradient_step_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text(PROGRESS)
    np.testing.assert_array_equal(read_progress(tmp_path)["rollout/ep_rew_mean"], [1.5, np.nan, 2.5])
    figure = plot_elbo(tmp_path, "title")
    expected = {
        "action log-likelihood (nats)": [-1.0, -0.5],
        "return log-likelihood (nats)": [-2.0, -1.0],
        "KL from the prior (nats)": [3.0, 2.0],
        "weight of the KL": [0.5, 0.25],
    }
    drawn = {axes.get_ylabel(): axes.lines[0] for axes in figure.axes}
    assert {label: list(line.get_ydata()) for label, line in drawn.items()} == expected
    assert all(list(line.get_xdata()) == [10, 20] for line in drawn.values())
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "gradient steps", "gradient steps"]


def test_what_a_model_logs_is_read(small_gac: Any, diary_env: Any, make_dataset: Any, tmp_path: Path) -> None:
    model = small_gac(diary_env())
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn_offline(make_dataset(), 6, log_interval=2)
    (axes, *_) = plot_elbo(tmp_path / "progress.csv").axes
    assert list(axes.lines[0].get_xdata()) == [2, 4, 6]
    assert np.isfinite(axes.lines[0].get_ydata()).all()


def test_what_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="set_logger"):
        plot_elbo(tmp_path)
    (tmp_path / "progress.csv").write_text("train/n_updates,train/kl\n")
    with pytest.raises(ValueError, match="no rows"):
        plot_elbo(tmp_path)
    (tmp_path / "progress.csv").write_text("train/n_updates,train/kl\n1,2\n")
    with pytest.raises(ValueError, match="no train/action_log_prob, train/return_log_prob, train/kl_coef"):
        plot_elbo(tmp_path)
