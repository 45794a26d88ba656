"""Plans sampled given a target return, against the exact posterior of a linear-Gaussian model."""

import pytest
import torch as th
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sb3_gac.inference import explore, explore_plan, target_log_prob

N_SAMPLES = 20_000
SLOPE = th.tensor([0.6, -0.9])
RETURN_STD, BIAS, PRIOR_MEAN, PRIOR_STD = 0.5, 0.3, 0.4, 1.3
MEAN_RETURN, STD_RETURN = 100.0, 10.0


def make_model(linear_model):
    model = linear_model([SLOPE.tolist()] * 2, RETURN_STD, BIAS, PRIOR_MEAN, PRIOR_STD)
    model.return_predictor.set_statistics(MEAN_RETURN, STD_RETURN)
    return model


def exact_posterior(target_return: float) -> tuple[th.Tensor, th.Tensor]:
    """Mean and covariance of p(z | y = target), by conditioning the Gaussian of (z, y)."""
    standardised = (target_return - MEAN_RETURN) / STD_RETURN
    prior_mean = th.full((2,), PRIOR_MEAN)
    with_return = PRIOR_STD**2 * SLOPE
    variance = PRIOR_STD**2 * SLOPE @ SLOPE + RETURN_STD**2
    mean = prior_mean + with_return * (standardised - SLOPE @ prior_mean - BIAS) / variance
    return mean, PRIOR_STD**2 * th.eye(2) - th.outer(with_return, with_return) / variance


def sample(linear_model, target_return: float, **settings) -> th.Tensor:
    """Every environment draws one plan: many of them, many samples."""
    target = th.full((N_SAMPLES,), target_return)
    model = make_model(linear_model)
    return explore_plan(model, model.return_predictor, th.zeros(N_SAMPLES, 2), target, **settings)


def assert_exact(plans: th.Tensor, target_return: float) -> None:
    mean, covariance = exact_posterior(target_return)
    th.testing.assert_close(plans.mean(dim=0), mean, rtol=0, atol=0.05)
    th.testing.assert_close(plans.T.cov(), covariance, rtol=0, atol=0.06)


def test_target_log_prob_is_that_of_the_mixture(neural_model):
    plans, first_features = th.randn(6, 4), th.randn(6, 2)
    target = 100 + 10 * th.randn(6)
    predictor = neural_model.return_predictor
    means, log_stds = predictor(plans, first_features)
    members = Normal(means.T, log_stds.T.exp())
    expected = MixtureSameFamily(Categorical(th.ones(6, 3)), members).log_prob((target - 100) / 10)
    th.testing.assert_close(target_log_prob(predictor, plans, first_features, target), expected)


@pytest.mark.parametrize("target_return", [95.0, 115.0])
def test_resampled_prior_plans(linear_model, target_return):
    assert_exact(sample(linear_model, target_return, n_candidates=64), target_return)


@pytest.mark.parametrize("target_return", [95.0, 115.0])
@pytest.mark.parametrize(
    ("n_candidates", "explore_steps", "step_size"),
    [
        (64, 5, 0.1),  # what is right stays right
        (1, 60, 0.3),  # a chain alone, from the prior
        (64, 5, 5.0),  # unadjusted, these steps would diverge
    ],
    ids=["resampled, then moved", "chain", "steps too long"],
)
def test_langevin_plans(linear_model, monkeypatch, target_return, n_candidates, explore_steps, step_size):
    monkeypatch.setattr(explore, "STEP_SIZE", step_size)
    plans = sample(linear_model, target_return, n_candidates=n_candidates, explore_steps=explore_steps)
    assert_exact(plans, target_return)


def test_langevin_steps_leave_the_candidates(linear_model):
    model, target = make_model(linear_model), th.full((500,), 100.0)
    plans = []
    for explore_steps in (0, 3):
        th.manual_seed(0)
        plans.append(explore_plan(model, model.return_predictor, th.zeros(500, 2), target, 16, explore_steps))
    assert (plans[0] != plans[1]).any(dim=1).float().mean() > 0.9


def test_each_environment_has_its_own_target_and_its_own_plan(linear_model):
    model = make_model(linear_model)
    targets = th.tensor([80.0, 100.0, 120.0]).repeat_interleave(500)
    plans = explore_plan(model, model.return_predictor, th.zeros(1500, 2), targets, n_candidates=128, explore_steps=2)
    assert len(plans.unique(dim=0)) == 1500
    for group, target_return in zip(plans.split(500), (80.0, 100.0, 120.0), strict=True):
        mean, _ = exact_posterior(target_return)
        th.testing.assert_close(group.mean(dim=0), mean, rtol=0, atol=0.3)


def test_a_target_out_of_reach_gives_the_nearest_plans(linear_model):
    """All likelihoods underflow; the best candidates are taken all the same."""
    plans = sample(linear_model, 1e6, n_candidates=16)[:1000]
    prior_predictions = PRIOR_STD * SLOPE.norm() * th.randn(1000, 16) + PRIOR_MEAN * SLOPE.sum()
    best = prior_predictions.amax(dim=1)
    assert (plans @ SLOPE).mean().item() == pytest.approx(best.mean().item(), abs=0.15)


def test_exploration_follows_the_seed(neural_model):
    first_features, target = th.zeros(5, 2), th.full((5,), 100.0)
    plans = []
    for seed in (1, 1, 2):
        th.manual_seed(seed)
        plans.append(explore_plan(neural_model, neural_model.return_predictor, first_features, target, 8, 3))
    assert th.equal(plans[0], plans[1])
    assert not th.equal(plans[0], plans[2])


@pytest.mark.parametrize("gradients_are_on", [False, True])
@pytest.mark.parametrize("explore_steps", [0, 3])
def test_no_gradient_is_left_in_the_model(neural_model, gradients_are_on, explore_steps):
    with th.set_grad_enabled(gradients_are_on):
        plans = explore_plan(
            neural_model, neural_model.return_predictor, th.zeros(5, 2), th.full((5,), 100.0), 8, explore_steps
        )
    assert plans.shape == (5, 4)
    assert not plans.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in neural_model.parameters())


@pytest.mark.parametrize("step_size", [0.05, 1e6])
def test_senseless_weights_give_finite_plans(senseless_model, monkeypatch, step_size):
    monkeypatch.setattr(explore, "STEP_SIZE", step_size)
    model, _ = senseless_model
    for explore_steps in (0, 20):
        plans = explore_plan(model, model.return_predictor, th.ones(5, 2), 100 * th.randn(5), 16, explore_steps)
        assert th.isfinite(plans).all()
