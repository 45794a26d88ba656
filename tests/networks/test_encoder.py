"""The encoder is a function of the set of steps it is shown."""

import inspect

import pytest
import torch as th
from torch import nn

from sb3_gac.networks import PlanEncoder
from sb3_gac.networks.encoder import LOG_STD_MAX, LOG_STD_MIN

FEATURES_DIM, ACTION_DIM, PLAN_DIM, BATCH_SIZE, N_STEPS = 4, 2, 3, 5, 7

every_arch = pytest.mark.parametrize("net_arch", [[], [8], [8, 6]])


def make_encoder(net_arch: list[int]) -> PlanEncoder:
    return PlanEncoder(FEATURES_DIM, ACTION_DIM, PLAN_DIM, net_arch, nn.Tanh)


@every_arch
def test_the_order_of_the_steps_does_not_matter(net_arch):
    encoder = make_encoder(net_arch)
    features, actions = th.randn(BATCH_SIZE, N_STEPS, FEATURES_DIM), th.randn(BATCH_SIZE, N_STEPS, ACTION_DIM)
    order = th.randperm(N_STEPS)
    for part, shuffled in zip(encoder(features, actions), encoder(features[:, order], actions[:, order]), strict=True):
        assert part.shape == (BATCH_SIZE, PLAN_DIM)
        th.testing.assert_close(shuffled, part)


@every_arch
def test_steps_seen_twice_count_once(net_arch):
    """A mean, not a sum: the answer does not depend on how many steps are drawn."""
    encoder = make_encoder(net_arch)
    features, actions = th.randn(BATCH_SIZE, N_STEPS, FEATURES_DIM), th.randn(BATCH_SIZE, N_STEPS, ACTION_DIM)
    twice = encoder(features.repeat(1, 2, 1), actions.repeat(1, 2, 1))
    for part, repeated in zip(encoder(features, actions), twice, strict=True):
        th.testing.assert_close(repeated, part)


def test_which_action_goes_with_which_observation_matters():
    encoder = make_encoder([8])
    features, actions = th.randn(BATCH_SIZE, N_STEPS, FEATURES_DIM), th.randn(BATCH_SIZE, N_STEPS, ACTION_DIM)
    assert not th.allclose(encoder(features, actions).mean, encoder(features, actions.roll(1, dims=1)).mean, atol=1e-4)


def test_sees_neither_the_start_nor_the_return():
    assert list(inspect.signature(PlanEncoder.forward).parameters) == ["self", "features", "actions"]


def test_one_trajectory_does_not_see_another():
    encoder = make_encoder([8])
    features, actions = th.randn(BATCH_SIZE, N_STEPS, FEATURES_DIM), th.randn(BATCH_SIZE, N_STEPS, ACTION_DIM)
    alone = encoder(features[2:3], actions[2:3])
    th.testing.assert_close(alone.mean[0], encoder(features, actions).mean[2])


@pytest.mark.parametrize(("raw", "bound"), [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_log_std_is_bounded(raw, bound):
    encoder = make_encoder([8])
    encoder.plan_net[-1].bias.data[PLAN_DIM:] = raw
    assert (encoder(th.randn(1, 1, FEATURES_DIM), th.randn(1, 1, ACTION_DIM)).log_std == bound).all()
