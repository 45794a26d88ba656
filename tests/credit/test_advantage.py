"""Advantages and weights of steps, where the right ones are known."""

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_gac.credit import advantage_weights, fit_advantages
from sb3_gac.credit.advantage import lambda_returns, spread, start_value
from sb3_gac.networks import CreditNetwork
from sb3_gac.type_aliases import StepTable


def table(lengths, is_terminated) -> StepTable:
    lengths = np.asarray(lengths)
    ends = np.asarray(is_terminated, dtype=bool)
    return StepTable(np.arange(lengths.sum()), lengths, np.zeros(len(lengths)), ends, np.arange(len(lengths)))


def fit(observations, actions, rewards, steps, gamma=0.9, gae_lambda=0.8, n_sweeps=12, temperature=1.0):
    """Standardised advantages of networks that start anew, the networks' values and what is logged."""
    th.manual_seed(0)
    features, actions = (th.as_tensor(np.asarray(part), dtype=th.float32) for part in (observations, actions))
    credit_net = CreditNetwork(features.shape[1], actions.shape[1], [32])
    optimizer = th.optim.Adam(credit_net.parameters(), lr=5e-3)
    rewards = np.asarray(rewards, dtype=np.float64)
    advantages, values, logs = fit_advantages(
        credit_net, optimizer, features, actions, rewards, steps, gamma, gae_lambda, temperature, n_sweeps
    )
    return advantages, values, logs


def standardise(array):
    return (array - array.mean()) / array.std()


def lambda_returns_by_hand(rewards, values, steps, gamma, gae_lambda):
    """The sum of the definition: weighted n-step returns of each step on its own."""
    result, start = np.zeros(len(rewards)), 0
    for length, is_terminated in zip(steps.lengths, steps.is_terminated, strict=True):
        for t in range(length):
            n_left = length - t
            n_step = []
            for n in range(1, n_left + 1):
                after = values[start + t + n] if n < n_left else (0.0 if is_terminated else values[start + length - 1])
                n_step.append(sum(gamma**k * rewards[start + t + k] for k in range(n)) + gamma**n * after)
            weights = [(1 - gae_lambda) * gae_lambda ** (n - 1) for n in range(1, n_left)] + [gae_lambda ** (n_left - 1)]
            result[start + t] = np.dot(weights, n_step)
        start += length
    return result


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    gamma=st.sampled_from([0.0, 0.9, 1.0]),
    gae_lambda=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(deadline=None)
def test_lambda_returns_are_the_sum_of_their_definition(lengths, seed, gamma, gae_lambda):
    rng = np.random.default_rng(seed)
    steps = table(lengths, rng.random(len(lengths)) < 0.5)
    rewards, values = rng.normal(size=(2, sum(lengths)))
    expected = lambda_returns_by_hand(rewards, values, steps, gamma, gae_lambda)
    np.testing.assert_allclose(lambda_returns(rewards, values, steps, gamma, gae_lambda), expected, atol=1e-10)


def test_terminated_ends_are_worth_nothing_and_truncated_ones_what_their_last_observation_is():
    rewards, values = np.array([1.0, 1.0]), np.array([5.0, 5.0])
    returns = lambda_returns(rewards, values, table([1, 1], [True, False]), 0.9, 1.0)
    np.testing.assert_allclose(returns, [1.0, 1.0 + 0.9 * 5.0])


def test_the_start_value_of_a_task_without_end_is_its_mean_reward_for_ever():
    assert start_value(np.full(10, 2.0), table([5, 5], [False, False]), 0.9) == pytest.approx(2.0 / (1 - 0.9))


def test_a_bandit():
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, size=400)
    advantages, values, logs = fit(
        np.zeros((400, 1)), np.eye(2)[arms], 3.0 * arms + rng.normal(size=400), table([1] * 400, [True] * 400)
    )
    weights = advantage_weights(standardise(arms), 1.0)
    assert np.abs(values - 3.0 * (weights * arms).mean()).max() < 0.3  # of the policy that the weights teach
    np.testing.assert_allclose(advantages, standardise(arms), atol=0.05)  # the noise of single rewards is not in it
    assert logs["advantage_significance"] > 10


def test_a_two_step_decision_is_credited_with_what_follows_it():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, size=(2, 500))
    observations = np.zeros((1000, 2))
    observations[0::2, 0] = 1  # the start; then a place that depends on the first action
    observations[1::2, 1] = 2.0 * first - 1
    actions = np.zeros((1000, 2))
    actions[np.arange(0, 1000, 2), first] = actions[np.arange(1, 1000, 2), second] = 1
    rewards = np.zeros(1000)
    rewards[1::2] = np.where(first == 1, 2.0, 0.0)  # nothing is paid for the first action itself, nor for the second one
    advantages, _, _ = fit(observations, actions, rewards, table([2] * 500, [True] * 500), gamma=1.0)
    gains = np.zeros(1000)
    gains[0::2] = 2.0 * first - 2.0 * first.mean()
    assert np.abs(advantages - standardise(gains)).max() < 0.3


def noisy_walks(seed=0, n_trajectories=40, length=10):
    rng = np.random.default_rng(seed)
    observations = rng.normal(size=(n_trajectories * length, 2))
    actions = rng.uniform(-1, 1, size=(n_trajectories * length, 1))
    return observations, actions, table([length] * n_trajectories, [False] * n_trajectories), rng


@pytest.mark.parametrize(("scale", "constant"), [(1.0, 16.0), (8.0, 0.0), (0.25, -4.0)])
def test_no_positive_scale_and_no_constant_reward_of_a_task_without_end_changes_a_weight(scale, constant):
    observations, actions, steps, _ = noisy_walks()
    rewards = np.round(actions[:, 0] * observations[:, 0], 2)
    plain, shifted = (
        advantage_weights(fit(observations, actions, given, steps, n_sweeps=3)[0], 0.5)
        for given in (rewards, scale * rewards + constant)
    )
    np.testing.assert_allclose(shifted, plain, rtol=2e-3)


def test_the_order_of_trajectories_changes_no_weight():
    observations, actions, steps, rng = noisy_walks()
    rewards = actions[:, 0] * observations[:, 0]
    order = rng.permutation(len(steps.lengths))
    rows = np.arange(len(rewards)).reshape(-1, 10)[order].reshape(-1)
    plain, _, _ = fit(observations, actions, rewards, steps)
    mixed, _, _ = fit(observations[rows], actions[rows], rewards[rows], steps)
    assert np.corrcoef(plain[rows], mixed)[0, 1] > 0.95  # other minibatches, the same answer


def weights_of_actions(seed, gain):
    """Weights where ``gain`` is what an action adds to the reward, and how much more actions near 1 weigh than near -1."""
    observations, actions, _, rng = noisy_walks(seed, n_trajectories=200)
    rewards = observations[:, 0] + gain * actions[:, 0] + 0.5 * rng.normal(size=2000)
    advantages, _, _ = fit(observations, actions, rewards, table([1] * 2000, [True] * 2000))
    weights = advantage_weights(advantages, 0.5)
    return weights, weights[actions[:, 0] > 0.5].mean() / weights[actions[:, 0] < -0.5].mean()


def test_outcomes_that_do_not_depend_on_actions_give_flat_weights():
    flat, steep = ([weights_of_actions(seed, gain) for seed in range(5)] for gain in (0.0, 1.0))
    assert np.median([1 / np.square(weights).mean() for weights, _ in flat]) > 0.95  # effective sample size
    assert np.median([steepness for _, steepness in flat]) == pytest.approx(1.0, abs=0.1)
    assert min(steepness for _, steepness in steep) > 4


def test_all_members_learn_from_the_one_trajectory_that_succeeded():
    n_trajectories, length = 30, 60
    is_success = np.arange(n_trajectories) == 0
    actions = np.where(np.arange(n_trajectories) % 2 == 0, 1.0, -1.0)
    rewards = np.where(is_success[:, None] & (np.arange(length) >= 20), 1.0, 0.0)
    observations = np.tile(np.arange(length) / length, n_trajectories)
    steps = table([length] * n_trajectories, [True] * n_trajectories)
    advantages, _, logs = fit(observations[:, None], np.repeat(actions, length)[:, None], rewards.ravel(), steps)
    assert logs["advantage_significance"] > 3
    assert advantages[actions.repeat(length) > 0].mean() > advantages[actions.repeat(length) < 0].mean() + 0.5


def test_rewards_that_begin_to_vary_are_learnt_as_if_they_always_had():
    """While all rewards are alike nothing may be learnt that spoils what comes."""
    observations, actions, steps, _ = noisy_walks()
    features, encoded = (th.as_tensor(part, dtype=th.float32) for part in (observations, actions))
    credit_net = CreditNetwork(2, 1, [32])
    optimizer = th.optim.Adam(credit_net.parameters(), lr=5e-3)
    for rewards in (*[np.full(400, -0.1)] * 10, -0.1 + 0.001 * actions[:, 0]):
        advantages, _, logs = fit_advantages(credit_net, optimizer, features, encoded, rewards, steps, 0.9, 0.8, 1.0, 12)
    assert np.corrcoef(advantages, actions[:, 0])[0, 1] > 0.95
    assert logs["advantage_significance"] > 3


def test_what_nothing_unseen_confirms_weighs_nothing():
    observations, actions, _, _ = noisy_walks(n_trajectories=1, length=10)
    advantages, _, logs = fit(observations, actions, actions[:, 0], table([10], [False]), n_sweeps=1)
    assert logs["advantage_significance"] == 0.0 and not advantages.any()


def test_a_single_trajectory_is_shared_by_all_members():
    observations, actions, _, _ = noisy_walks(n_trajectories=1, length=500)
    advantages, _, _ = fit(observations, actions, actions[:, 0], table([500], [False]))
    assert np.corrcoef(advantages, actions[:, 0])[0, 1] > 0.8


def test_rewards_that_are_all_alike_give_equal_weights():
    observations, actions, steps, _ = noisy_walks()
    advantages, _, _ = fit(observations, actions, np.ones(400), steps, n_sweeps=3)
    np.testing.assert_allclose(advantage_weights(advantages, 0.5), 1.0, rtol=1e-4)


def test_weights_are_exponentials_with_a_mean_of_one():
    weights = advantage_weights(np.array([-1.0, 0.0, 1.0, 0.0]), 0.5)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[2] / weights[1] == pytest.approx(np.exp(2.0))
    assert weights[0] / weights[1] == pytest.approx(np.exp(-2.0))


def test_one_extraordinary_step_weighs_at_most_e_cubed_times_an_average_one():
    weights = advantage_weights(np.append(np.zeros(999), 1000.0), 0.5)
    assert weights[-1] / weights[0] == pytest.approx(np.exp(3.0))


def test_rounding_is_no_spread():
    numbers = 1e6 + np.linspace(0, 1e-3, 10)
    assert spread(numbers, numbers) == pytest.approx(1e6)
    assert spread(np.zeros(3), np.zeros(3)) == 1.0
    assert spread(np.array([-1.0, 1.0]), np.array([-1.0, 1.0])) == 1.0
