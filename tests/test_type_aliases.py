"""The diagonal Gaussian over plans against torch.distributions."""

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from sb3_gac.type_aliases import PlanGaussian, TrajectoryBatch

PLAN_DIM = 3
numbers = st.lists(st.floats(-3, 3, width=32), min_size=PLAN_DIM, max_size=PLAN_DIM)


def as_distribution(gaussian: PlanGaussian) -> Independent:
    return Independent(Normal(gaussian.mean, gaussian.log_std.exp()), 1)


@settings(max_examples=50, deadline=None)
@given(mean=numbers, log_std=numbers, prior_mean=numbers, prior_log_std=numbers)
def test_kl_is_the_closed_form(mean, log_std, prior_mean, prior_log_std):
    posterior = PlanGaussian(th.tensor([mean], dtype=th.float64), th.tensor([log_std], dtype=th.float64))
    prior = PlanGaussian(th.tensor([prior_mean], dtype=th.float64), th.tensor([prior_log_std], dtype=th.float64))
    kl = posterior.kl_from(prior)
    assert kl.shape == (1,)
    th.testing.assert_close(kl, kl_divergence(as_distribution(posterior), as_distribution(prior)))


@settings(max_examples=50, deadline=None)
@given(mean=numbers, log_std=numbers, change=st.floats(-1e-3, 1e-3))
def test_kl_is_never_negative(mean, log_std, change):
    posterior = PlanGaussian(th.tensor([mean]), th.tensor([log_std]))
    assert posterior.kl_from(posterior).item() == 0
    assert posterior.kl_from(PlanGaussian(posterior.mean, posterior.log_std + change)).item() > -1e-12


def test_kl_is_finite_for_a_posterior_that_has_collapsed():
    posterior = PlanGaussian(th.zeros(1, PLAN_DIM), th.full((1, PLAN_DIM), -60.0))
    prior = PlanGaussian(th.zeros(1, PLAN_DIM), th.zeros(1, PLAN_DIM))
    assert posterior.kl_from(prior).item() == pytest.approx(PLAN_DIM * (60 - 0.5))


def test_plan_at_noise():
    gaussian = PlanGaussian(th.tensor([[1.0, -2.0]]), th.tensor([[1.0, 2.0]]).log())
    assert gaussian.at(th.tensor([[3.0, 5.0]])).tolist() == [[4.0, 8.0]]


def test_noise_broadcasts_with_the_mean():
    gaussian = PlanGaussian(th.randn(4, 1, PLAN_DIM), th.randn(4, 1, PLAN_DIM))
    noise = th.randn(4, 7, PLAN_DIM)
    plans = gaussian.at(noise)
    assert plans.shape == (4, 7, PLAN_DIM)
    th.testing.assert_close(plans[2, 5], gaussian.mean[2, 0] + gaussian.log_std[2, 0].exp() * noise[2, 5])


def numbered_batch(first: int, is_dict: bool) -> TrajectoryBatch:
    """Two trajectories through three steps; every entry is the number of its trajectory."""
    numbers = th.arange(first, first + 2)
    steps = numbers.view(2, 1, 1).expand(2, 3, 1)
    return TrajectoryBatch(
        {"vector": steps} if is_dict else steps,
        steps,
        {"vector": numbers.view(2, 1)} if is_dict else numbers.view(2, 1),
        numbers,
        numbers,
        numbers,
        steps.squeeze(-1),
        steps.squeeze(-1).float(),
    )


@pytest.mark.parametrize("is_dict", [False, True])
def test_batches_join_and_rows_are_taken_together(is_dict):
    batch = TrajectoryBatch.concatenate([numbered_batch(0, is_dict), numbered_batch(2, is_dict)])
    assert batch.returns.tolist() == [0, 1, 2, 3]
    taken = batch.take(th.tensor([3, 0]))
    observations = taken.observations["vector"] if is_dict else taken.observations
    firsts = taken.first_observations["vector"] if is_dict else taken.first_observations
    assert observations.shape == (2, 3, 1)
    steps = (observations[:, 0, 0], taken.actions[:, 0, 0], taken.ages[:, 0], taken.weights[:, 0])
    for part in (*steps, firsts[:, 0], taken.returns, taken.advantages, taken.lengths):
        assert part.tolist() == [3, 0]
