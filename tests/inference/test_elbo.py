"""The bound on a linear-Gaussian model: its gap to the exact evidence is the divergence from the exact posterior."""

import pytest
import torch as th
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from sb3_gac.inference import elbo
from sb3_gac.type_aliases import PlanGaussian

N_STEPS, N_SAMPLES = 3, 40_000
ACTION_STD, RETURN_STD, SLOPE, BIAS, PRIOR_MEAN, PRIOR_STD = 0.5, 0.7, 0.8, 0.3, 0.4, 1.3


def make_model(linear_model):
    # The return depends on one dimension of the plan alone: the exact posterior is then diagonal
    return linear_model([[SLOPE, 0.0]], RETURN_STD, BIAS, PRIOR_MEAN, PRIOR_STD, ACTION_STD)


ACTIONS = th.tensor([[0.9, -0.3], [0.1, -1.0], [0.8, 0.2]])
RETURN = th.tensor(1.4)

# All that is observed, (actions, return) = observed_by @ z + offset + noise
OBSERVED = th.cat((ACTIONS.flatten(), RETURN.view(1)))
OBSERVED_BY = th.cat((th.eye(2).repeat(N_STEPS, 1), th.tensor([[SLOPE, 0.0]])))
OFFSET = th.tensor([0.0] * 2 * N_STEPS + [BIAS])
NOISE_VARIANCE = th.tensor([ACTION_STD**2] * 2 * N_STEPS + [RETURN_STD**2])


def exact_evidence() -> float:
    mean = OBSERVED_BY @ th.full((2,), PRIOR_MEAN) + OFFSET
    covariance = PRIOR_STD**2 * OBSERVED_BY @ OBSERVED_BY.T + NOISE_VARIANCE.diag()
    return MultivariateNormal(mean, covariance).log_prob(OBSERVED).item()


def exact_posterior() -> PlanGaussian:
    precision = th.eye(2) / PRIOR_STD**2 + (OBSERVED_BY.T / NOISE_VARIANCE) @ OBSERVED_BY
    assert precision[0, 1] == 0
    information = PRIOR_MEAN / PRIOR_STD**2 + (OBSERVED_BY.T / NOISE_VARIANCE) @ (OBSERVED - OFFSET)
    return PlanGaussian(information / precision.diag(), -0.5 * precision.diag().log())


def sampled_bound(model, posterior: PlanGaussian) -> th.Tensor:
    """Many samples of log p(actions, y) >= bound."""
    terms = elbo(
        model,
        PlanGaussian(*(part.expand(N_SAMPLES, -1) for part in posterior)),
        th.zeros(N_SAMPLES, N_STEPS, 2),
        ACTIONS.expand(N_SAMPLES, -1, -1),
        th.zeros(N_SAMPLES, 2),
        RETURN.expand(N_SAMPLES),
        th.zeros(N_SAMPLES),
        th.ones(N_SAMPLES, N_STEPS),
    )
    assert (terms.advantage_log_prob == 0).all()
    return N_STEPS * terms.action_log_prob + terms.return_log_prob - terms.kl


def test_tight_at_the_exact_posterior(linear_model):
    bound = sampled_bound(make_model(linear_model), exact_posterior())
    error = bound.std().item() / N_SAMPLES**0.5
    assert error < 0.02
    assert bound.mean().item() == pytest.approx(exact_evidence(), abs=4 * error)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, 0.0), (-0.3, 0.6)])
@pytest.mark.parametrize("widen", [-1.0, 0.0, 0.5])
def test_the_gap_is_the_divergence_from_the_exact_posterior(linear_model, shift, widen):
    exact = exact_posterior()
    posterior = PlanGaussian(exact.mean + th.tensor(shift), exact.log_std + widen)
    bound = sampled_bound(make_model(linear_model), posterior)
    as_distributions = [Independent(Normal(mean, log_std.exp()), 1) for mean, log_std in (posterior, exact)]
    gap = kl_divergence(*as_distributions).item()
    error = bound.std().item() / N_SAMPLES**0.5
    assert bound.mean().item() == pytest.approx(exact_evidence() - gap, abs=4 * error)
    assert bound.mean().item() <= exact_evidence() + 4 * error


def test_terms_of_a_certain_posterior(neural_model):
    """With hardly any spread, each term is the model's own answer at the mean plan; the KL is against the prior of o_1."""
    posterior = PlanGaussian(th.randn(5, 4), th.full((5, 4), -20.0))
    features, actions, returns = th.randn(5, 6, 2), 2 * th.rand(5, 6, 3) - 1, 100 + 10 * th.randn(5)
    first_features, advantages = th.randn(5, 2), th.randn(5)
    weights = th.rand(5, 6)
    terms = elbo(neural_model, posterior, features, actions, first_features, returns, advantages, weights)
    assert [term.shape for term in terms] == [(5,)] * 4
    log_prob = neural_model.action_log_prob(features, actions, posterior.mean)
    th.testing.assert_close(terms.action_log_prob, (weights * log_prob).sum(dim=1) / 6)
    for found, predictor, outcomes in (
        (terms.return_log_prob, neural_model.return_predictor, returns),
        (terms.advantage_log_prob, neural_model.advantage_predictor, advantages),
    ):
        th.testing.assert_close(found, predictor.log_prob(outcomes, posterior.mean, first_features))
    th.testing.assert_close(terms.kl, posterior.kl_from(neural_model.plan_prior(first_features)))


def test_every_part_of_the_model_learns(neural_model):
    posterior = PlanGaussian(th.randn(5, 4).requires_grad_(), th.zeros(5, 4).requires_grad_())
    features, actions = th.randn(5, 6, 2), 2 * th.rand(5, 6, 3) - 1
    returns = 100 + 10 * th.randn(5)
    terms = elbo(neural_model, posterior, features, actions, th.randn(5, 2), returns, th.randn(5), th.ones(5, 6))
    (terms.action_log_prob + terms.return_log_prob + terms.advantage_log_prob - terms.kl).mean().backward()
    for name, parameter in [*neural_model.named_parameters(), *posterior._asdict().items()]:
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


def test_senseless_weights_give_a_finite_bound(senseless_model):
    model, encoder = senseless_model
    features, actions = 20 * th.rand(5, 6, 2) - 10, 2 * th.rand(5, 6, 3) - 1
    posterior, returns = encoder(features, actions), 100 * th.randn(5)
    terms = elbo(model, posterior, features, actions, features[:, 0], returns, th.zeros(5), th.ones(5, 6))
    assert all(th.isfinite(term).all() for term in terms)
    (terms.action_log_prob + terms.return_log_prob - terms.kl).mean().backward()
    for parameter in [*model.parameters(), *encoder.parameters()]:
        assert parameter.grad is None or th.isfinite(parameter.grad).all()
