"""Rollouts whose plans are known, in the buffer and in what is learnt."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.distributions import Normal

from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.type_aliases import FollowedPlans, PlanState

OBSERVATION_SPACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTION_SPACE = spaces.Box(-1.0, 1.0, (1,), np.float32)


def make_buffer(buffer_size: int = 100, n_envs: int = 1) -> TrajectoryReplayBuffer:
    return TrajectoryReplayBuffer(buffer_size, OBSERVATION_SPACE, ACTION_SPACE, "cpu", n_envs=n_envs)


def follow(buffer: TrajectoryReplayBuffer, plan: float, n_steps: int, is_done: bool = True, age: int = 0) -> None:
    """One more rollout of the only env: observations (plan, step), a reward of 1 a step."""
    for step in range(n_steps):
        buffer.plan_state = PlanState(np.full((1, 3), plan, np.float32), np.array([age + step + 1]))
        done = np.array([is_done and step == n_steps - 1])
        buffer.add(np.array([[plan, step]], np.float32), np.zeros((1, 2)), np.zeros((1, 1)), np.ones(1), done, [{}])


def known(buffer: TrajectoryReplayBuffer, n_rollouts: int = 10) -> list[tuple[float, list[float], float]]:
    followed = buffer.followed_plans(n_rollouts)
    if followed is None:
        return []
    return [
        (plan[0], first, total)
        for plan, first, total in zip(
            followed.plans.tolist(), followed.first_observations.tolist(), followed.returns.tolist(), strict=True
        )
    ]


def test_the_latest_come_first():
    buffer = make_buffer()
    for plan, n_steps in [(1.0, 3), (2.0, 5), (3.0, 1)]:
        follow(buffer, plan, n_steps)
    assert known(buffer) == [(3.0, [3.0, 0.0], 1.0), (2.0, [2.0, 0.0], 5.0), (1.0, [1.0, 0.0], 3.0)]
    assert known(buffer, 2) == known(buffer)[:2]


def test_nothing_is_known_of_rollouts_without_plan_or_end():
    buffer = make_buffer()
    assert known(buffer) == []
    buffer.add(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1)), np.ones(1), np.array([True]), [{}])
    follow(buffer, 1.0, 3, age=2)  # the plan is older than the rollout
    buffer.add(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1)), np.ones(1), np.array([False]), [{}])
    follow(buffer, 2.0, 3)  # and this one younger
    follow(buffer, 3.0, 3, is_done=False)
    buffer.close_open_trajectories()  # what it would have returned is not known
    assert known(buffer) == []


def test_what_is_overwritten_is_forgotten():
    buffer = make_buffer(buffer_size=8)
    for plan in (1.0, 2.0, 3.0):
        follow(buffer, plan, 3)
    assert [plan for plan, *_ in known(buffer)] == [3.0, 2.0]
    buffer.set_n_envs(2)
    assert known(buffer) == []


def test_envs_are_told_apart():
    buffer = make_buffer(n_envs=2)
    for age in (1, 2):
        buffer.plan_state = PlanState(np.array([[1.0], [2.0]], np.float32), np.array([age, age]))
        obs = np.array([[1.0, age - 1], [2.0, age - 1]], np.float32)
        buffer.add(obs, obs, np.zeros((2, 1)), np.array([1.0, 10.0]), np.array([False, age == 2]), [{}, {}])
    assert known(buffer) == [(2.0, [2.0, 0.0], 20.0)]


def test_rollouts_of_a_model_are_known_once_it_plans(small_gac, diary_env):
    env = diary_env(length=5)
    model = small_gac(env, learning_starts=7).learn(31)
    # The first episode was random, the second began so; the seventh is under way
    first = np.array(env.observations)[[30, 24, 18, 12]]
    followed = model.replay_buffer.followed_plans(10)
    assert followed.returns.tolist() == [15.0] * 4
    np.testing.assert_array_equal(followed.first_observations.numpy(), first)
    assert len({tuple(plan) for plan in followed.plans.tolist()}) == 4


@pytest.mark.parametrize("n_known", [2, 4])
def test_the_likelihood_is_that_of_the_plans_themselves(small_gac, diary_env, n_known):
    model = small_gac(diary_env(length=5), n_followed_plans=4, policy_kwargs={"n_critics": 1}).learn(5 + 5 * n_known)
    followed = model.replay_buffer.followed_plans(4)
    assert len(followed.plans) == n_known
    predictor = model.actor.model.return_predictor
    features = model.actor.extract_features(followed.first_observations, at_start=True)
    mean, log_std = model.actor.model.predict_return(followed.plans, features)
    expected = Normal(mean[0], log_std[0].exp()).log_prob(predictor.standardise(followed.returns)).sum() / 4
    th.testing.assert_close(model._followed_log_prob(), expected)


@pytest.mark.parametrize("n_followed_plans, is_found_out", [(0, False), (8, True)])
def test_a_plan_that_only_promises_much_is_found_out(small_gac, make_dataset, n_followed_plans, is_found_out):
    """Plans far from all that the encoder infers have returned nothing; the data returns 0 to 25."""
    model = small_gac(n_followed_plans=n_followed_plans, learning_rate=1e-2).learn_offline(make_dataset(), 100)
    firsts, far = th.zeros(8, 3), th.full((8, 16), 5.0)
    model.replay_buffer.followed_plans = lambda n, env: FollowedPlans(far[:n], firsts[:n], th.zeros(n))
    model.train(200)
    with th.no_grad():
        mean, _ = model.actor.model.predict_return(far[:1], model.actor.extract_features(firsts[:1], at_start=True))
    promised = model.actor.model.return_predictor.unstandardise(mean.mean()).item()
    assert (abs(promised) < 2) == is_found_out
