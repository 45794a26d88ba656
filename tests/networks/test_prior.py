"""The prior starts as a standard normal; the first observation moves and scales it."""

import pytest
import torch as th
from torch import nn

from sb3_gac.networks import GaussianPrior
from sb3_gac.networks.prior import LOG_STD_MAX, LOG_STD_MIN

FEATURES_DIM, PLAN_DIM, BATCH_SIZE = 4, 3, 5

every_arch = pytest.mark.parametrize("net_arch", [[], [8]])


@every_arch
def test_starts_as_standard_normal(net_arch):
    prior = GaussianPrior(FEATURES_DIM, PLAN_DIM, net_arch, nn.ReLU)
    gaussian = prior(10 * th.randn(BATCH_SIZE, FEATURES_DIM))
    for part in gaussian:
        assert part.shape == (BATCH_SIZE, PLAN_DIM)
        assert (part == 0).all()


def test_the_first_observation_moves_and_scales_the_prior():
    prior = GaussianPrior(FEATURES_DIM, PLAN_DIM, [], nn.ReLU)
    prior.net[-1].weight.data[0, 0] = 2.0  # mean of the first dimension
    prior.net[-1].weight.data[PLAN_DIM, 1] = 0.5  # its log standard deviation
    gaussian = prior(th.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    assert gaussian.mean.tolist() == [[2, 0, 0], [0, 0, 0]]
    assert gaussian.log_std.tolist() == [[0, 0, 0], [0.5, 0, 0]]


@pytest.mark.parametrize(("raw", "bound"), [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_log_std_is_bounded(raw, bound):
    prior = GaussianPrior(FEATURES_DIM, PLAN_DIM, [], nn.ReLU)
    prior.net[-1].bias.data[PLAN_DIM:] = raw
    assert (prior(th.randn(1, FEATURES_DIM)).log_std == bound).all()


def test_a_new_prior_can_learn():
    """Zero weights of the last layer only: gradients reach it at once."""
    prior = GaussianPrior(FEATURES_DIM, PLAN_DIM, [8], nn.ReLU)
    gaussian = prior(th.randn(BATCH_SIZE, FEATURES_DIM))
    (gaussian.mean.sum() + gaussian.log_std.sum()).backward()
    assert (prior.net[-1].weight.grad != 0).any()
