"""The fitted posterior against the exact one of a linear-Gaussian model, and what fitting must leave alone."""

import pytest
import torch as th
from torch import nn

from sb3_gac.inference import fit_posterior, posterior
from sb3_gac.networks import PlanEncoder
from sb3_gac.type_aliases import PlanGaussian

BATCH_SIZE, N_STEPS, PLAN_DIM, HORIZON = 200, 10, 2, 5.0
ACTION_STD, PRIOR_MEAN, PRIOR_STD = 0.5, 0.8, 0.5


def make_model(linear_model):
    return linear_model([[1.0, 0.0]], prior_mean=PRIOR_MEAN, prior_std=PRIOR_STD, action_std=ACTION_STD)


def make_encoder() -> PlanEncoder:
    return PlanEncoder(2, PLAN_DIM, PLAN_DIM, [8], nn.Tanh)


def make_batch() -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Features, actions and first features of trajectories that each follow a plan of their own."""
    plans = th.randn(BATCH_SIZE, 1, PLAN_DIM)
    return (
        th.randn(BATCH_SIZE, N_STEPS, 2),
        plans + ACTION_STD * th.randn(BATCH_SIZE, N_STEPS, PLAN_DIM),
        th.zeros(BATCH_SIZE, 2),
    )


def exact_posterior(actions: th.Tensor, kl_coef: float = 1.0) -> PlanGaussian:
    """The mean action log-likelihood counts for `HORIZON` steps, for fewer where the divergence costs more."""
    horizon = HORIZON / kl_coef
    precision = 1 / PRIOR_STD**2 + horizon / ACTION_STD**2
    mean = (PRIOR_MEAN / PRIOR_STD**2 + horizon * actions.mean(dim=1) / ACTION_STD**2) / precision
    return PlanGaussian(mean, th.full_like(mean, precision).log() / -2)


def gradients_of(*networks: nn.Module) -> list[th.Tensor | None]:
    return [parameter.grad for network in networks for parameter in network.parameters()]


@pytest.mark.parametrize("kl_coef", [1.0, 3.0])
def test_converges_to_the_exact_posterior(linear_model, monkeypatch, kl_coef):
    monkeypatch.setattr(posterior, "LEARNING_RATE", 0.1)
    features, actions, first_features = make_batch()
    fitted = fit_posterior(
        make_model(linear_model),
        make_encoder(),
        features,
        actions,
        first_features,
        HORIZON,
        posterior_steps=300,
        kl_coef=kl_coef,
    )
    exact = exact_posterior(actions, kl_coef)
    # Each trajectory's fit is noisy, for every step samples a plan; together they are right
    assert (fitted.mean - exact.mean).mean().item() == pytest.approx(0, abs=0.02)
    assert (fitted.log_std - exact.log_std).mean().item() == pytest.approx(0, abs=0.05)
    assert (fitted.mean - exact.mean).abs().max() < 0.2
    assert (fitted.log_std - exact.log_std).abs().max() < 0.5


def test_gradient_steps_improve_on_the_encoder(linear_model):
    (features, actions, first_features), model, encoder = make_batch(), make_model(linear_model), make_encoder()
    exact = exact_posterior(actions)
    divergences = [
        fit_posterior(model, encoder, features, actions, first_features, HORIZON, n_steps).kl_from(exact).mean()
        for n_steps in (0, 4, 16, 64)
    ]
    assert divergences == sorted(divergences, reverse=True)


def test_a_longer_horizon_buys_more_information(linear_model):
    (features, actions, first_features), encoder = make_batch(), make_encoder()
    model = make_model(linear_model)
    short, long = (
        fit_posterior(model, encoder, features, actions, first_features, horizon, 100).log_std.mean()
        for horizon in (1.0, 100.0)
    )
    assert long < short - 1


def test_no_steps_is_the_encoder(linear_model):
    (features, actions, first_features), encoder = make_batch(), make_encoder()
    fitted = fit_posterior(make_model(linear_model), encoder, features, actions, first_features, HORIZON)
    for part, expected in zip(fitted, encoder(features, actions), strict=True):
        assert th.equal(part, expected)


def test_no_gradient_is_left_in_the_networks(linear_model):
    (features, actions, first_features), model, encoder = make_batch(), make_model(linear_model), make_encoder()
    features.requires_grad_()
    fit_posterior(model, encoder, features, actions, first_features, HORIZON, 3)
    assert gradients_of(model, encoder) == [None] * len(gradients_of(model, encoder))
    assert features.grad is None


def test_gradients_that_were_there_stay(linear_model):
    (features, actions, first_features), model, encoder = make_batch(), make_model(linear_model), make_encoder()
    for parameter in [*model.parameters(), *encoder.parameters()]:
        parameter.grad = th.randn_like(parameter)
    before = [gradient.clone() for gradient in gradients_of(model, encoder)]
    fit_posterior(model, encoder, features, actions, first_features, HORIZON, 3)
    assert all(th.equal(*pair) for pair in zip(before, gradients_of(model, encoder), strict=True))


def test_straight_through_teaches_the_encoder_where_the_steps_ended(linear_model):
    (features, actions, first_features), encoder = make_batch(), make_encoder()
    fitted = fit_posterior(make_model(linear_model), encoder, features, actions, first_features, HORIZON, 5)
    (0.5 * fitted.mean.square() + fitted.log_std.exp()).sum().backward()
    # The bias of the last layer is the encoder's answer itself: its gradient is the loss's, at the fitted point
    expected = th.cat((fitted.mean, fitted.log_std.exp()), dim=-1).sum(dim=0)
    th.testing.assert_close(encoder.plan_net[-1].bias.grad, expected.detach())


class FixedEncoder(PlanEncoder):
    """An encoder that answers with tensors it keeps."""

    def __init__(self) -> None:
        super().__init__(2, PLAN_DIM, PLAN_DIM, [], nn.ReLU)
        self.answer = PlanGaussian(*th.zeros(BATCH_SIZE, 2 * PLAN_DIM, requires_grad=True).chunk(2, dim=-1))

    def forward(self, features: th.Tensor, actions: th.Tensor) -> PlanGaussian:
        return self.answer


def test_the_encoders_answer_is_not_moved(linear_model):
    encoder = FixedEncoder()
    fitted = fit_posterior(make_model(linear_model), encoder, *make_batch(), HORIZON, 5)
    assert all((part == 0).all() for part in encoder.answer)
    assert all((part != 0).all() for part in fitted)


def test_works_where_gradients_are_off(linear_model):
    (features, actions, first_features), encoder = make_batch(), make_encoder()
    model = make_model(linear_model)
    with th.no_grad():
        start = encoder(features, actions)
        fitted = fit_posterior(model, encoder, features, actions, first_features, HORIZON, 20)
    assert not any(part.requires_grad for part in fitted)
    exact = exact_posterior(actions)
    assert fitted.kl_from(exact).mean() < start.kl_from(exact).mean()


def test_trajectories_are_fitted_each_for_itself(linear_model, monkeypatch):
    """Adam scales every number on its own: with the same samples of plans, a trajectory ends where it ends alone."""
    (features, actions, first_features), model, encoder = make_batch(), make_model(linear_model), make_encoder()
    samples = th.randn(5, BATCH_SIZE, PLAN_DIM)
    ends = []
    for n_trajectories in (BATCH_SIZE, 1):
        draws = iter(samples[:, :n_trajectories])
        monkeypatch.setattr(th, "randn_like", lambda mean, draws=draws: next(draws))
        batch = (part[:n_trajectories] for part in (features, actions, first_features))
        ends.append(fit_posterior(model, encoder, *batch, HORIZON, 5))
    for together, alone in zip(*ends, strict=True):
        th.testing.assert_close(together[:1], alone)


def test_senseless_weights_give_a_finite_posterior(senseless_model):
    model, encoder = senseless_model
    features, actions = 20 * th.rand(5, 6, 2) - 10, 2 * th.rand(5, 6, 3) - 1
    fitted = fit_posterior(model, encoder, features, actions, features[:, 0], 16.0, posterior_steps=16)
    assert all(th.isfinite(part).all() for part in fitted)
