"""The decoder scores every step as if it stood alone, under the plan of its own trajectory."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn
from torch.distributions import Normal

from sb3_gac.networks import FilmDecoder
from sb3_gac.networks.action_head import LOG_STD_MAX, LOG_STD_MIN

FEATURES_DIM, PLAN_DIM, BATCH_SIZE, N_STEPS = 4, 3, 5, 6
SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)

every_arch = pytest.mark.parametrize("net_arch", [[], [8], [8, 7]])


def make_decoder(net_arch: list[int]) -> FilmDecoder:
    return FilmDecoder(FEATURES_DIM, PLAN_DIM, SPACE, net_arch, nn.ReLU)


def make_batch() -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Features, actions and plans."""
    return th.randn(BATCH_SIZE, N_STEPS, FEATURES_DIM), 2 * th.rand(BATCH_SIZE, N_STEPS, 2) - 1, th.randn(BATCH_SIZE, PLAN_DIM)


@every_arch
def test_a_step_alone_scores_as_within_its_trajectory(net_arch):
    decoder, (features, actions, plans) = make_decoder(net_arch), make_batch()
    log_prob = decoder.action_log_prob(features, actions, plans)
    assert log_prob.shape == (BATCH_SIZE, N_STEPS)
    for i in range(BATCH_SIZE):
        for t in range(N_STEPS):
            alone = decoder.action_log_prob(features[i, t][None, None], actions[i, t][None, None], plans[i][None])
            th.testing.assert_close(alone[0, 0], log_prob[i, t])


@every_arch
def test_only_the_own_plan_matters(net_arch):
    decoder, (features, actions, plans) = make_decoder(net_arch), make_batch()
    before = decoder.action_log_prob(features, actions, plans)
    others = th.randn_like(plans)
    others[2] = plans[2]
    after = decoder.action_log_prob(features, actions, others)
    th.testing.assert_close(after[2], before[2])
    changed = th.ones(BATCH_SIZE, dtype=th.bool)
    changed[2] = False
    assert (after[changed] != before[changed]).all()


@every_arch
def test_only_the_own_step_matters(net_arch):
    decoder, (features, actions, plans) = make_decoder(net_arch), make_batch()
    before = decoder.action_log_prob(features, actions, plans)
    features[:, 3], actions[:, 1] = 0.0, 0.0
    after = decoder.action_log_prob(features, actions, plans)
    kept = [0, 2, 4, 5]
    th.testing.assert_close(after[:, kept], before[:, kept])
    assert (after[:, [1, 3]] != before[:, [1, 3]]).all()


@every_arch
def test_acting_follows_the_distribution_that_is_scored(net_arch):
    decoder, (features, _, plans) = make_decoder(net_arch), make_batch()
    actions = decoder.act(features[:, 0], plans, deterministic=True)
    assert actions.shape == (BATCH_SIZE, 2)
    best = decoder.action_log_prob(features[:, :1], actions.unsqueeze(1), plans)
    for _ in range(10):
        other = (actions + 0.1 * th.randn_like(actions)).unsqueeze(1)
        assert (decoder.action_log_prob(features[:, :1], other, plans) < best).all()


def test_film_by_hand():
    """Each layer: hidden = relu((1 + scale(z)) * layer(hidden) + shift(z)), with a scale and a shift of its own."""
    decoder, (features, actions, plans) = make_decoder([8, 6]), make_batch()
    modulation = decoder.modulation(plans).unsqueeze(1)
    hidden = ((1 + modulation[..., :8]) * decoder.layers[0](features) + modulation[..., 14:22]).relu()
    hidden = ((1 + modulation[..., 8:14]) * decoder.layers[1](hidden) + modulation[..., 22:]).relu()
    mean, log_std = decoder.head.net(hidden).chunk(2, dim=-1)
    expected = Normal(mean.tanh(), log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()).log_prob(actions).sum(dim=-1)
    th.testing.assert_close(decoder.action_log_prob(features, actions, plans), expected)


def test_without_hidden_layers_the_plan_is_appended():
    decoder, (features, _, plans) = make_decoder([]), make_batch()
    expected = decoder.head.net(th.cat((features[:, 0], plans), dim=-1))[:, :2].tanh()
    th.testing.assert_close(decoder.act(features[:, 0], plans, deterministic=True), expected)
