import numpy as np
import pytest

from sb3_gac.plots import TargetReturnResult, bootstrap_interval, plot_target_returns

pytest.importorskip("matplotlib")


def test_a_figure_shows_every_episode_and_the_means() -> None:
    achieved = np.array([[0.0, 2.0, 4.0], [10.0, 10.0, 10.0]])
    figure = plot_target_returns(TargetReturnResult(np.array([1.0, 9.0]), achieved, known=(-1.0, 12.0)))
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["return = target return"].get_xydata(), [[1.0, 1.0], [9.0, 9.0]])
    episodes = lines["episodes"].get_xydata()
    np.testing.assert_array_equal(episodes, [[1, 0], [1, 2], [1, 4], [9, 10], [9, 10], [9, 10]])
    (bars,) = axes.containers
    np.testing.assert_array_equal(bars.lines[0].get_xydata(), [[1.0, 2.0], [9.0, 10.0]])
    low, high = bootstrap_interval(achieved[0])[1:]
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0], [[1.0, low], [1.0, high]])
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"return = target return", "episodes", "mean, 95 % interval", "returns of the known trajectories"}


def test_without_known_trajectories_there_is_no_band() -> None:
    figure = plot_target_returns(TargetReturnResult(np.array([1.0]), np.array([[2.0]])), "title")
    assert "returns of the known trajectories" not in {text.get_text() for text in figure.legends[0].get_texts()}
    assert figure.get_suptitle() == "title"
