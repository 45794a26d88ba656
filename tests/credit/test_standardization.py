"""Advantages standardised by state, where means and spreads are known."""

import numpy as np
import torch as th
from torch import nn

from sb3_gac.credit import standardise_by_state
from sb3_gac.networks import SpreadPredictor


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
