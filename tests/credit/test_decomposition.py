"""Rewards found from returns, where the right ones are known."""

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_gac.credit import fit_rewards
from sb3_gac.networks import RewardPredictor
from sb3_gac.type_aliases import StepTable


def fit(observations, actions, lengths, rewards, n_updates=600):
    th.manual_seed(0)
    features, actions = (th.as_tensor(part, dtype=th.float32) for part in (observations, actions))
    net = RewardPredictor(features.shape[1] + actions.shape[1], [32], nn.ReLU)
    starts = np.cumsum(lengths) - lengths
    returns, ends = np.add.reduceat(rewards, starts), np.zeros(len(lengths), dtype=bool)
    steps = StepTable(np.arange(len(rewards)), lengths, returns, ends, np.arange(len(lengths)))
    found, losses = fit_rewards(net, th.optim.Adam(net.parameters(), lr=3e-3), features, actions, steps, n_updates)
    assert set(losses) == {"reward_model_loss"}
    return found


def walks(seed=0, n_trajectories=300):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, size=n_trajectories)
    observations = rng.normal(size=(lengths.sum(), 2)) + np.repeat(rng.normal(size=(n_trajectories, 2)), lengths, axis=0)
    return observations, rng.uniform(-1, 1, size=(lengths.sum(), 1)), lengths


@pytest.mark.parametrize("constant", [0.0, 50.0])
def test_rewards_of_steps_are_found_from_returns_alone(constant):
    observations, actions, lengths = walks()
    rewards = observations[:, 0] + 2 * actions[:, 0]
    found = fit(observations, actions, lengths, rewards + constant)
    assert np.corrcoef(found, rewards)[0, 1] > 0.9
    assert found.mean() == pytest.approx((rewards + constant).mean(), abs=0.3)


def test_one_reward_for_all_steps_is_found_exactly():
    observations, actions, lengths = walks()
    np.testing.assert_allclose(fit(observations, actions, lengths, np.full(lengths.sum(), 3.0), 50), 3.0, rtol=1e-5)


def test_estimates_of_sums_do_not_shrink_what_differs_within_a_trajectory():
    """Rewards of 1 in the first 40 to 60 percent of 200 steps: independent draws would find half of the difference."""
    n_rewarded = np.random.default_rng(0).integers(80, 121, size=300)
    rewards = (np.arange(200) < n_rewarded[:, None]).astype(float).reshape(-1)
    found = fit(rewards[:, None], np.zeros((len(rewards), 1)), np.full(300, 200), rewards, 2000)
    assert found[rewards == 1].mean() - found[rewards == 0].mean() == pytest.approx(1, abs=0.1)
