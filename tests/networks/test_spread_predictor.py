"""A Gaussian over a scalar, given features."""

import pytest
import torch as th
from torch import nn

from sb3_gac.networks import SpreadPredictor
from sb3_gac.networks.spread_predictor import LOG_STD_MAX, LOG_STD_MIN


def test_by_hand():
    predictor = SpreadPredictor(2, [], nn.ReLU)
    (layer,) = predictor.net
    layer.weight.data = th.tensor([[1.0, 2.0], [0.5, 0.0]])
    layer.bias.data = th.tensor([3.0, -1.0])
    mean, log_std = predictor(th.tensor([[1.0, 1.0], [2.0, -1.0]]))
    assert mean.tolist() == [6.0, 3.0]
    assert log_std.tolist() == [-0.5, 0.0]


@pytest.mark.parametrize(("raw", "bound"), [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_log_std_is_bounded(raw, bound):
    predictor = SpreadPredictor(2, [8], nn.ReLU)
    predictor.net[-1].bias.data[1] = raw
    mean, log_std = predictor(th.randn(5, 2))
    assert mean.shape == (5,)
    assert (log_std == bound).all()


def test_it_learns_a_mean_and_a_spread_that_depend_on_the_features():
    """N(3, 0.5²) where the feature is 1, N(-1, 2²) where it is -1."""
    predictor = SpreadPredictor(1, [16], nn.ReLU)
    optimizer = th.optim.Adam(predictor.parameters(), lr=0.01)
    for _ in range(600):
        features = th.randint(2, (256, 1)) * 2.0 - 1
        is_first = features[:, 0] > 0
        targets = th.where(is_first, 3.0, -1.0) + th.where(is_first, 0.5, 2.0) * th.randn(256)
        mean, log_std = predictor(features)
        optimizer.zero_grad()
        (0.5 * ((targets - mean) * (-log_std).exp()).square() + log_std).mean().backward()
        optimizer.step()
    mean, log_std = predictor(th.tensor([[1.0], [-1.0]]))
    th.testing.assert_close(mean, th.tensor([3.0, -1.0]), rtol=0, atol=0.25)
    th.testing.assert_close(log_std.exp(), th.tensor([0.5, 2.0]), rtol=0.15, atol=0)
