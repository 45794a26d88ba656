"""Advantages of segments, by the sum of their definition, and standardised where means and spreads are known."""

import numpy as np
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sb3_gac.credit import segment_advantages, standardise_by_state
from sb3_gac.networks import SpreadPredictor
from sb3_gac.type_aliases import StepTable


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    gamma=st.sampled_from([0.5, 0.9, 1.0]),
    plan_horizon=st.integers(1, 8),
)
@settings(deadline=None)
def test_segment_advantages_are_discounted_rewards_and_the_value_after_them(lengths, seed, gamma, plan_horizon):
    rng = np.random.default_rng(seed)
    n_steps, n_trajectories = sum(lengths), len(lengths)
    is_terminated = rng.random(n_trajectories) < 0.5
    ids = np.arange(n_trajectories)
    steps = StepTable(np.arange(n_steps), np.array(lengths), np.zeros(n_trajectories), is_terminated, ids)
    rewards, values = rng.normal(size=(2, n_steps))
    expected, start = [], 0
    for length, ends in zip(lengths, is_terminated, strict=True):
        for t in range(length):
            n = min(plan_horizon, length - t)
            if t + n < length:
                after = values[start + t + n]
            else:  # a truncated trajectory goes on as from its last observation
                after = 0.0 if ends else values[start + length - 1]
            rewards_inside = sum(gamma**k * rewards[start + t + k] for k in range(n))
            expected.append(rewards_inside + gamma**n * after - values[start + t])
        start += length
    np.testing.assert_allclose(segment_advantages(rewards, values, steps, gamma, plan_horizon), expected, atol=1e-10)


def test_states_of_other_means_and_spreads_end_alike():
    th.manual_seed(0)
    noise = np.random.default_rng(0).normal(size=(2, 2000))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
    advantages = np.concatenate([0.5 + 0.2 * noise[0], -0.5 + 2.0 * noise[1]])
    features = th.tensor([[-1.0], [1.0]]).repeat_interleave(2000, dim=0)
    spread_net = SpreadPredictor(1, [32], nn.Tanh)
    optimizer = th.optim.Adam(spread_net.parameters(), lr=3e-3)
    standardised = standardise_by_state(spread_net, optimizer, features, advantages, 800).reshape(2, 2000)
    np.testing.assert_allclose(standardised.mean(axis=1), 0.0, atol=0.15)
    np.testing.assert_allclose(standardised.std(axis=1), 1.0, atol=0.1)
    assert all(np.corrcoef(noise[i], standardised[i])[0, 1] > 0.999 for i in range(2))
