"""What trajectories that were cut would have gone on to do."""

import numpy as np
import pytest
import torch as th

from sb3_gac import GAC
from sb3_gac.data import Trajectory, complete_trajectories, completion
from sb3_gac.data.completion import HOLD_STEPS, MIN_REST, decompose_returns

HORIZON = 100


def walk(n_steps: int, rng: np.random.Generator, terminated: bool = False) -> Trajectory:
    """A walk on a line that pays 1 per step spent within half a unit of the origin."""
    positions = rng.uniform(-3, 3) + np.cumsum(rng.normal(scale=0.3, size=n_steps))
    rewards = (np.abs(positions) < 0.5).astype(np.float64)
    observations = positions[:, None].astype(np.float32)
    actions = rng.uniform(-1, 1, size=(n_steps, 1)).astype(np.float32)
    return Trajectory(observations, actions, rewards, terminated, not terminated)


@pytest.fixture
def trajectories() -> list[Trajectory]:
    rng = np.random.default_rng(0)
    return [walk(40, rng), walk(40, rng, terminated=True), walk(HORIZON, rng), walk(HORIZON - 10, rng)]


@pytest.fixture
def known_rewards(monkeypatch) -> None:
    """The decomposition finds the rewards that were paid."""
    monkeypatch.setattr(completion, "decompose_returns", lambda trajectories: [part.rewards for part in trajectories])


def test_rewards_are_found_from_returns_alone():
    rng = np.random.default_rng(0)
    walks = [walk(30, rng) for _ in range(200)]
    th.manual_seed(0)
    found = decompose_returns([trajectory.return_only() for trajectory in walks])
    returns = [trajectory.total_return for trajectory in walks]
    assert np.corrcoef([rewards.sum() for rewards in found], returns)[0, 1] > 0.99
    positions = np.concatenate([trajectory.observations[:, 0] for trajectory in walks])
    rewards = np.concatenate(found)
    assert rewards[np.abs(positions) < 0.3].mean() > 0.8
    assert np.abs(rewards[np.abs(positions) > 0.8]).mean() < 0.1


def test_what_was_cut_goes_on_as_it_ended(trajectories, known_rewards):
    cut, _, _, nearly_whole = complete_trajectories(trajectories, HORIZON)[::2]
    for before, after, n_held in ((trajectories[0], cut, HOLD_STEPS), (trajectories[3], nearly_whole, 10)):
        assert len(after) == len(before) + n_held
        for name in ("observations", "actions"):
            np.testing.assert_array_equal(getattr(after, name)[: len(before)], getattr(before, name))
            assert (getattr(after, name)[len(before) :] == getattr(before, name)[-1]).all()
        missing = HORIZON - len(before)
        assert after.total_return == pytest.approx(before.total_return + missing * before.rewards[-1])
        assert after.truncated


def test_what_ended_or_lasted_stays_as_it_was(trajectories, known_rewards):
    for before, after in zip(trajectories[1:3], complete_trajectories(trajectories, HORIZON)[2:6:2], strict=True):
        np.testing.assert_array_equal(after.observations, before.observations)
        np.testing.assert_array_equal(after.actions, before.actions)
        assert after.total_return == pytest.approx(before.total_return)
        assert after.terminated == before.terminated


@pytest.mark.parametrize("start", [1, 25, 29, 55])
def test_the_rest_of_each_has_as_much_time_as_the_whole(trajectories, known_rewards, monkeypatch, start):
    monkeypatch.setattr(np.random, "randint", lambda low, high: min(start, high - 1))
    n_held = [HOLD_STEPS, 0, 0, 10]
    rests = complete_trajectories(trajectories, HORIZON)[1::2]
    for before, after, n in zip(trajectories, rests, n_held, strict=True):
        first = min(start, len(before) + n - MIN_REST - 1)
        steps = [min(step, len(before) - 1) for step in range(first, len(before) + n)]
        np.testing.assert_array_equal(after.observations, before.observations[steps])
        np.testing.assert_array_equal(after.actions, before.actions[steps])
        # What is left of it from there on, and the time that is missing then, at the pace of its last step
        expected = before.rewards[first:].sum()
        if not before.terminated:
            expected += (HORIZON - max(len(before) - first, 0)) * before.rewards[-1]
        assert after.total_return == pytest.approx(expected)
        assert after.terminated == before.terminated


def test_rests_start_anywhere_and_where_it_stays(known_rewards):
    rng = np.random.default_rng(0)
    lengths = [len(rest) for rest in complete_trajectories([walk(40, rng) for _ in range(500)], HORIZON)[1::2]]
    assert min(lengths) == MIN_REST + 1
    assert max(lengths) == 40 + HOLD_STEPS - 1
    assert np.mean(np.array(lengths) < HOLD_STEPS) == pytest.approx((HOLD_STEPS - MIN_REST) / 60, abs=0.06)


def test_a_short_trajectory_has_no_rest(known_rewards):
    short = walk(MIN_REST + 1, np.random.default_rng(0), terminated=True)
    assert len(complete_trajectories([short], HORIZON)) == 1


def test_single_rewards_are_never_used(monkeypatch, trajectories):
    monkeypatch.setattr(completion, "GRADIENT_STEPS", 5)
    np.random.seed(3)
    th.manual_seed(3)
    expected = complete_trajectories(trajectories, HORIZON)
    drawn = np.random.rand(), th.rand(()).item()
    np.random.seed(3)
    th.manual_seed(3)
    assert drawn == (np.random.rand(), th.rand(()).item())  # nor random numbers of anyone else
    found = complete_trajectories([trajectory.return_only() for trajectory in trajectories], HORIZON)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.rewards, other.rewards)


def test_a_model_learns_from_what_was_completed(monkeypatch, trajectories):
    monkeypatch.setattr(completion, "GRADIENT_STEPS", 5)
    model = GAC("MlpLatentPolicy", completion_horizon=HORIZON, policy_kwargs=dict(net_arch=[8]), device="cpu", seed=0)
    model.set_offline_data(trajectories)
    expected = [trajectory.total_return for trajectory in complete_trajectories(trajectories, HORIZON)]
    np.testing.assert_allclose(model.offline_buffer.returns, expected)


def test_bad_input_is_refused(trajectories):
    with pytest.raises(ValueError, match="horizon must be a positive number of steps, got 0"):
        complete_trajectories(trajectories, 0)
    images = Trajectory(np.zeros((20, 3, 8, 8), np.uint8), np.zeros((20, 1)), np.zeros(20), False, True)
    with pytest.raises(ValueError, match="are images"):
        complete_trajectories([images], HORIZON)
    with pytest.raises(ValueError, match="completion_horizon must be at least 1, got 0"):
        GAC("MlpLatentPolicy", completion_horizon=0)
