"""A mixture of Gaussians as the prior: a file of its own and one line that registers it."""

import numpy as np
import pytest
import torch as th
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from sb3_gac import GAC
from sb3_gac.networks import PRIORS
from sb3_gac.type_aliases import PlanGaussian
from tests.growth.mixture_prior import MixturePrior, PlanMixture

N_SAMPLES = 20_000


@pytest.fixture(autouse=True)
def seed() -> None:
    th.manual_seed(0)


def make_mixture(n_rows: int) -> PlanMixture:
    """Two components of plans of two numbers, the same in each row."""
    weights, means = th.tensor([0.3, 0.7]), th.tensor([[-5.0, 0.0], [5.0, 1.0]])
    stds = th.tensor([[0.5, 1.0], [0.25, 2.0]])
    return PlanMixture(*(part.expand(n_rows, *part.shape) for part in (weights.log(), means, stds.log())))


def test_the_density_is_that_of_torch():
    mixture, plans = make_mixture(50), 4 * th.randn(50, 2)
    components = Independent(Normal(mixture.means, mixture.log_stds.exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=mixture.log_weights), components).log_prob(plans)
    th.testing.assert_close(mixture.log_prob(plans), expected)


def test_noise_becomes_plans_of_each_component_as_often_as_it_weighs():
    plans = make_mixture(N_SAMPLES).at(th.randn(N_SAMPLES, 3))
    is_first = plans[:, 0] < 0
    assert is_first.float().mean().item() == pytest.approx(0.3, abs=0.01)
    for part, mean, std in ((plans[is_first], [-5.0, 0.0], [0.5, 1.0]), (plans[~is_first], [5.0, 1.0], [0.25, 2.0])):
        th.testing.assert_close(part.mean(dim=0), th.tensor(mean), rtol=0, atol=0.06)
        th.testing.assert_close(part.std(dim=0), th.tensor(std), rtol=0.04, atol=0)


def test_many_plans_of_each_row_are_those_of_the_row():
    mixture, noise = MixturePrior(3, 2, [], th.nn.ReLU)(th.randn(5, 3)), th.randn(5, 7, 3)
    many = mixture.for_many().at(noise)
    th.testing.assert_close(many, th.stack([mixture.at(noise[:, i]) for i in range(7)], dim=1))


def test_the_divergence_from_one_component_is_the_closed_form():
    prior, posterior = (
        PlanGaussian(th.full((N_SAMPLES, 2), mean), th.full((N_SAMPLES, 2), log_std)) for mean, log_std in ((0, 0), (1, -1))
    )
    mixture = PlanMixture(th.zeros(N_SAMPLES, 1), prior.mean.unsqueeze(1), prior.log_std.unsqueeze(1))
    sampled = mixture.kl_of(posterior, posterior.at(th.randn(N_SAMPLES, 2)))
    assert sampled.mean().item() == pytest.approx(posterior.kl_from(prior)[0].item(), abs=0.05)


def test_the_divergence_of_a_component_that_stands_alone_is_its_surprise():
    mixture = make_mixture(N_SAMPLES)
    posterior = PlanGaussian(mixture.means[:, 0], mixture.log_stds[:, 0])
    sampled = mixture.kl_of(posterior, posterior.at(th.randn(N_SAMPLES, 2)))
    th.testing.assert_close(sampled, th.full((N_SAMPLES,), -np.log(0.3)).float())


@pytest.mark.parametrize("plan_horizon", [3, None])
def test_it_is_learnt_searched_and_saved(small_gac, make_dataset, diary_env, monkeypatch, tmp_path, plan_horizon):
    monkeypatch.setitem(PRIORS, "mixture", MixturePrior)
    planning = dict(plan_horizon=plan_horizon, exploit_steps=2, explore_steps=2)
    model = small_gac(policy_kwargs=dict(prior="mixture", **planning), posterior_steps=2).learn_offline(make_dataset(), 20)
    before = model.policy.model.prior.net[-1].bias.clone()
    model.set_env(diary_env())
    model.learn(30)
    assert not th.equal(before, model.policy.model.prior.net[-1].bias)
    observations = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    actions, state = model.predict(observations, deterministic=True)
    assert np.isfinite(actions).all() and state[0].shape == (4, model.policy.plan_dim)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(GAC.load(tmp_path / "model").predict(observations, deterministic=True)[0], actions)


def test_a_prior_that_nobody_registered(small_gac, diary_env):
    with pytest.raises(ValueError, match="prior must be one of 'gaussian', got 'mixture'"):
        small_gac(diary_env(), policy_kwargs=dict(prior="mixture"))
