"""A trajectory refuses nonsense, and says where it is."""

from fractions import Fraction

import numpy as np
import pytest

from sb3_gac.data import Trajectory
from sb3_gac.data.trajectory import discontinuities, split_trajectories


def make_trajectory(**changes) -> Trajectory:
    fields = {
        "observations": np.arange(8.0).reshape(4, 2),
        "actions": np.zeros((4, 1)),
        "rewards": np.array([1.0, 2.0, 3.0, 4.0]),
        "terminated": True,
        "truncated": False,
    }
    return Trajectory(**{**fields, **changes})


def with_value(array, index, value):
    array = np.array(array, dtype=np.float64)
    array[index] = value
    return array


def test_length_and_return():
    trajectory = make_trajectory()
    assert len(trajectory) == 4
    assert trajectory.total_return == 10.0


def test_return_is_exact_in_any_order():
    rewards = np.random.default_rng(0).normal(size=5000).astype(np.float32) * 1e5
    expected = sum(Fraction(float(reward)) for reward in rewards)
    for order in (slice(None), slice(None, None, -1), np.argsort(rewards)):
        total = make_trajectory(observations=np.zeros(5000), actions=np.zeros(5000), rewards=rewards[order]).total_return
        assert total == float(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": with_value(np.zeros((4, 2)), (2, 1), np.nan)}, "observations at step 2 are not finite"),
        (
            {"observations": {"goal": with_value(np.zeros((4, 2)), (1, 0), np.inf)}},
            r"observations\['goal'\] at step 1 are not",
        ),
        ({"actions": with_value(np.zeros((4, 1)), (3, 0), -np.inf)}, "actions at step 3 are not finite"),
        ({"rewards": with_value(np.zeros(4), 0, np.nan)}, "rewards at step 0 are not finite"),
        ({"rewards": np.zeros((4, 1))}, r"rewards must have shape \(n_steps,\), not \(4, 1\)"),
        ({"rewards": np.zeros(3)}, r"observations of shape \(4, 2\) beside 3 rewards"),
        ({"actions": np.zeros((5, 1))}, r"actions of shape \(5, 1\) beside 4 rewards"),
        ({"actions": np.float64(1.0)}, r"actions of shape \(\)"),
        ({"actions": np.array(["left"] * 4)}, "actions have dtype <U4, numbers are needed"),
        ({"observations": np.zeros((4, 2), dtype=complex)}, "observations have dtype complex128"),
        ({"observations": {}}, "empty dict"),
        ({"observations": np.zeros((0, 2)), "actions": np.zeros((0, 1)), "rewards": np.zeros(0)}, "at least one step"),
        ({"terminated": False}, "neither terminated nor truncated"),
    ],
)
def test_nonsense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_trajectory(**changes)


def test_stays_as_it_was_checked():
    trajectory, rewards = make_trajectory(), np.ones(4)
    with pytest.raises(ValueError, match="read-only"):
        trajectory.rewards[0] = np.nan
    with pytest.raises(AttributeError):
        trajectory.terminated = False
    make_trajectory(rewards=rewards)
    rewards[0] = 2.0  # the caller's own array is left alone


def test_return_only_keeps_the_return():
    trajectory = make_trajectory(rewards=np.array([0.1, 0.2, 0.3, 0.4])).return_only()
    assert trajectory.rewards.tolist() == [0, 0, 0, trajectory.total_return]
    assert trajectory.total_return == 1.0
    assert trajectory.return_only().rewards.tolist() == trajectory.rewards.tolist()


def test_split():
    steps = np.arange(7.0)
    terminated, truncated = (np.isin(steps, ends) for ends in ([1], [4]))
    trajectories = split_trajectories({"step": steps}, steps, steps, terminated, truncated)
    assert [trajectory.rewards.tolist() for trajectory in trajectories] == [[0, 1], [2, 3, 4]]  # the rest did not end
    assert [trajectory.observations["step"].tolist() for trajectory in trajectories] == [[0, 1], [2, 3, 4]]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    assert [trajectory.truncated for trajectory in trajectories] == [False, True]
    assert split_trajectories(steps[:0], steps[:0], steps[:0], terminated[:0], truncated[:0]) == []
    with pytest.raises(ValueError, match="trajectory 1: rewards at step 2 are not finite"):
        split_trajectories(steps, steps, with_value(steps, 4, np.nan), terminated, truncated)


def test_discontinuities():
    observations, next_observations = np.array([[0, 0], [0, 1], [5, 5], [5, 6]]), np.array([[0, 1], [0, 2], [5, 6], [0, 0]])
    assert discontinuities(observations, next_observations).tolist() == [False, True, False, False]
    both = ({"a": observations, "b": np.arange(4)}, {"a": next_observations, "b": np.array([9, 2, 3, 4])})
    assert discontinuities(*both).tolist() == [True, True, False, False]
    assert discontinuities(observations[:1], next_observations[:1]).tolist() == [False]
