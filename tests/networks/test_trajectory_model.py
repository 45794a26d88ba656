"""The model asks each of its parts, and stays finite with senseless weights."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_gac.networks import FilmDecoder, GaussianPrior, ReturnPredictor, TrajectoryModel

FEATURES_DIM, PLAN_DIM, BATCH_SIZE, N_STEPS = 4, 3, 5, 6
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def make_model(net_arch=(8,), space=BOX, activation_fn=nn.ReLU) -> TrajectoryModel:
    return TrajectoryModel(
        GaussianPrior(FEATURES_DIM, PLAN_DIM, list(net_arch), activation_fn),
        FilmDecoder(FEATURES_DIM, PLAN_DIM, space, list(net_arch), activation_fn),
        ReturnPredictor(FEATURES_DIM, PLAN_DIM, list(net_arch), activation_fn),
    )


def test_the_decoder_acts_and_scores():
    model = make_model()
    features, actions = th.randn(BATCH_SIZE, N_STEPS, FEATURES_DIM), 2 * th.rand(BATCH_SIZE, N_STEPS, 2) - 1
    first_features, plans, decoder = features[:, 0], th.randn(BATCH_SIZE, PLAN_DIM), model.decoder
    for found, expected in (
        (model.action_log_prob(features, actions, plans), decoder.action_log_prob(features, actions, plans)),
        (model.act(first_features, plans, True), decoder.act(first_features, plans, True)),
    ):
        th.testing.assert_close(found, expected)


def test_the_critic_is_the_advantage_predictor_where_there_is_one():
    model = make_model()
    assert model.critic is model.return_predictor
    advantage_predictor = ReturnPredictor(FEATURES_DIM, PLAN_DIM, [8], nn.ReLU)
    of_segments = TrajectoryModel(model.prior, model.decoder, model.return_predictor, advantage_predictor)
    assert of_segments.critic is advantage_predictor


def test_the_prior_is_the_one_of_the_first_observation():
    model, first_features = make_model(), th.randn(BATCH_SIZE, FEATURES_DIM)
    nn.init.normal_(model.prior.net[-1].weight)
    for found, expected in zip(model.plan_prior(first_features), model.prior(first_features), strict=True):
        assert th.equal(found, expected)


@pytest.mark.parametrize("activation_fn", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("space", [BOX, spaces.Discrete(3)], ids=["Box", "Discrete"])
@pytest.mark.parametrize("net_arch", [(16,), (256, 256)])
def test_uniform_weights_give_finite_answers(net_arch, space, activation_fn):
    model = make_model(net_arch, space, activation_fn)
    model.load_state_dict({name: th.rand_like(part) for name, part in model.state_dict().items()})
    features = 20 * th.rand(BATCH_SIZE, N_STEPS, FEATURES_DIM) - 10
    prior = model.plan_prior(features[:, 0])
    plans = prior.at(th.randn_like(prior.mean))
    action = model.act(features[:, 0], plans, deterministic=False)
    log_prob = model.action_log_prob(features, action.unsqueeze(1).expand(-1, N_STEPS, -1), plans)
    return_log_prob = model.return_predictor.log_prob(100 * th.randn(BATCH_SIZE), plans, features[:, 0])
    for answer in (*prior, action, log_prob, return_log_prob, *model.return_predictor(plans, features[:, 0])):
        assert th.isfinite(answer).all()
    (log_prob.mean() + return_log_prob.mean()).backward()
    assert all(th.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_all_that_is_saved_is_floating_point():
    assert all(part.is_floating_point() for part in make_model().state_dict().values())
