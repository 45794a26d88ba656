"""Random policies, one for each episode; where the target return stands and how it moves."""

from unittest import mock

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac import GAC, gac
from sb3_gac.exploration import Behaviour, RandomPolicies, TargetReturn

SPACES = [
    spaces.Box(-2.0, 2.0, (2, 2)),
    spaces.Discrete(5),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiBinary(6),
]
N_ENVS = 8

returns_strategy = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20).map(np.array)
shares = st.floats(0, 1)
amounts = st.floats(0, 2)


def make_policies(space: spaces.Space) -> tuple[RandomPolicies, np.ndarray]:
    np.random.seed(0)
    policies = RandomPolicies(N_ENVS, 3, space)
    policies.draw(np.arange(N_ENVS))
    return policies, np.random.standard_normal((N_ENVS, 3))


def usual_actions(policies: RandomPolicies, features: np.ndarray) -> np.ndarray:
    """Actions that leave nothing to chance, of shape ``(n_envs, action_dim)``."""
    with mock.patch.object(policies, "random_shares", np.zeros((N_ENVS, 1))):
        return policies.act(features, np.arange(N_ENVS))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_are_those_of_the_space(space):
    policies, features = make_policies(space)
    for action in policies.act(features, np.arange(N_ENVS)):
        if isinstance(space, spaces.Box):
            assert action.dtype == np.float32 and action.shape == (4,) and (np.abs(action) <= 1).all()
        else:
            assert space.contains(action.reshape(space.shape).astype(space.dtype))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_each_policy_leaves_its_own_share_of_actions_to_chance(space):
    policies, features = make_policies(space)
    usual = usual_actions(policies, features)
    differs = np.stack([policies.act(features, np.arange(N_ENVS)) for _ in range(2000)]) != usual
    n_choices = np.array(policies.category_counts or [np.inf if isinstance(space, spaces.Box) else 2])
    expected = np.broadcast_to(policies.random_shares * (1 - 1 / n_choices), usual.shape)
    np.testing.assert_allclose(differs.mean(axis=0), expected, atol=0.06)
    assert policies.random_shares.min() < 0.3 and policies.random_shares.max() > 0.7


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_another_episode_follows_another_policy(space):
    policies, features = make_policies(space)
    features[:] = features[0]
    before = usual_actions(policies, features)
    policies.draw(np.arange(N_ENVS // 2))
    changes = np.abs(usual_actions(policies, features) - before).max(axis=1)
    assert (changes[: N_ENVS // 2] > 0.3).sum() >= N_ENVS // 4
    assert changes[N_ENVS // 2 :].max() < 0.1
    assert len(np.unique(before.round(), axis=0)) > 1  # environments differ


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_seed_decides(space):
    first, second = (
        policies.act(features, np.arange(N_ENVS)) for policies, features in (make_policies(space) for _ in range(2))
    )
    np.testing.assert_array_equal(first, second)


def test_a_policy_is_followed_for_a_whole_episode(small_gac, diary_env):
    env = DummyVecEnv([lambda length=length: diary_env(length=length) for length in (4, 6)])
    model = small_gac(env, learning_starts=100)
    with mock.patch.object(RandomPolicies, "draw", autospec=True) as draw:
        model.learn(2 * 11)
    # Both start, then whoever has ended: the first after 4 and 8 steps, the second after 6
    drawn = [call.args[1].tolist() for call in draw.call_args_list if len(call.args[1])]
    assert drawn == [[0, 1], [0], [1], [0]]


def test_fewer_and_fewer_episodes_are_random(small_gac, diary_env, monkeypatch):
    monkeypatch.setattr(gac, "N_RANDOM_EPISODES", 20)
    np.random.seed(0)
    model = small_gac(diary_env(length=1), learning_starts=0, gradient_steps=0, buffer_size=1000)
    model._is_informed = True
    is_random = []
    model.learn(400, callback=lambda locals_, _: is_random.append(model._behaviours[0] == Behaviour.RANDOM) or True)
    expected = sum(20 / (20 + episode) for episode in range(400))
    assert sum(is_random) == pytest.approx(expected, abs=3 * np.sqrt(expected))
    assert sum(is_random[:100]) > 2 * sum(is_random[-100:]) > 0


def test_episodes_are_random_until_some_have_done_better_than_others(small_gac, diary_env, monkeypatch):
    """What is learnt from outcomes that are all alike leads nowhere."""
    monkeypatch.setattr(gac, "N_RANDOM_EPISODES", 1e-9)
    model = small_gac(
        gym.wrappers.TransformReward(diary_env(), lambda reward: 0.0), learning_starts=10, train_freq=10, gradient_steps=1
    )
    behaviours = []
    model.learn(200, callback=lambda locals_, _: behaviours.append(model._behaviours[0]) or True)
    assert set(behaviours) == {Behaviour.RANDOM}
    model._is_informed = True
    behaviours.clear()
    model.learn(50, callback=lambda locals_, _: behaviours.append(model._behaviours[0]) or True, reset_num_timesteps=False)
    assert Behaviour.RANDOM not in behaviours[10:]


@pytest.mark.parametrize("explore_ratio", [0.0, 0.25, 1.0])
def test_as_many_episodes_explore_as_asked_for_and_the_others_act_as_an_evaluation_would(
    small_gac, diary_env, monkeypatch, explore_ratio
):
    monkeypatch.setattr(gac, "N_RANDOM_EPISODES", 1e-9)
    model = small_gac(diary_env(length=1), learning_starts=0, gradient_steps=0, buffer_size=1000, explore_ratio=explore_ratio)
    model._is_informed, model._n_informed_episodes = True, 1
    np.random.seed(0)
    behaviours = []
    with mock.patch.object(model.policy, "predict", wraps=model.policy.predict) as predict:
        model.learn(400, callback=lambda locals_, _: behaviours.append(model._behaviours[0]) or True)
    explored = np.array(behaviours) == Behaviour.EXPLORE
    assert explored.mean() == pytest.approx(explore_ratio, abs=0.08)
    assert [call.kwargs["deterministic"] for call in predict.call_args_list] == (~explored).tolist()


@pytest.mark.slow
def test_some_episodes_climb_the_mountain():
    """Which independent random actions never do."""
    env = make_vec_env("MountainCarContinuous-v0", n_envs=10, seed=0)
    model = GAC("MlpLatentPolicy", env, buffer_size=50_000, learning_starts=50_000, seed=0, device="cpu")
    model.learn(10 * 3 * 999)
    n_steps = gym.spec("MountainCarContinuous-v0").max_episode_steps
    assert (model.replay_buffer.lengths < n_steps).sum() >= 5


def bounds(target: TargetReturn, returns: np.ndarray) -> tuple[float, float]:
    return float(np.quantile(returns, target.quantile)), float(returns.max() + target.headroom * returns.std())


@settings(max_examples=50, deadline=None)
@given(returns=returns_strategy, quantile=shares)
def test_starts_at_the_quantile_of_the_known_returns(returns, quantile):
    target = TargetReturn(quantile)
    assert target.value is None
    target.fit(returns)
    assert target.value == np.quantile(returns, quantile)


def test_moves_by_hand():
    target = TargetReturn(quantile=0.5, rise=2.0, fall=0.25, headroom=1.0)
    target.fit(np.array([0.0, 0.0, 8.0, 8.0]))  # median 4, standard deviation 4, best 8
    assert target.value == 4
    for achieved, expected in (
        (4.0, 12.0),  # reached: two standard deviations more
        (11.9, 11.0),  # missed: a quarter of one less
        (13.0, 17.0),  # reached: one standard deviation above what has now been achieved
        (-5.0, 16.0),
    ):
        target.update(achieved)
        assert target.value == expected
    for _ in range(20):
        target.update(0.0)
    assert target.value == 4


@settings(max_examples=50, deadline=None)
@given(
    returns=returns_strategy,
    achieved=st.lists(st.floats(-1e4, 1e4), max_size=30),
    quantile=shares,
    rise=amounts,
    fall=amounts,
    headroom=amounts,
)
def test_rises_when_reached_falls_when_missed_within_bounds(returns, achieved, quantile, rise, fall, headroom):
    target = TargetReturn(quantile, rise, fall, headroom)
    target.fit(returns)
    low, high = bounds(target, returns)
    for achieved_return in achieved:
        before = target.value
        target.update(achieved_return)
        high = max(high, achieved_return + headroom * returns.std())
        if achieved_return >= before:
            assert target.value == pytest.approx(min(before + rise * returns.std(), high))
            assert target.value >= before
        else:
            assert target.value == pytest.approx(max(before - fall * returns.std(), low))
            assert target.value <= before
        assert low <= target.value <= high


@settings(max_examples=50, deadline=None)
@given(first=returns_strategy, second=returns_strategy, achieved=st.lists(st.floats(-1e4, 1e4), max_size=10))
def test_new_returns_move_the_bounds_and_the_target_no_further_than_they_must(first, second, achieved):
    target = TargetReturn()
    target.fit(first)
    for achieved_return in achieved:
        target.update(achieved_return)
    before = target.value
    target.fit(second)
    low, high = bounds(target, second)
    assert target.value == np.clip(before, low, high)


def test_rollouts_before_anything_is_known_move_nothing():
    target = TargetReturn()
    target.update(1e6)
    assert target.value is None


def test_equal_returns_leave_no_room():
    target = TargetReturn()
    target.fit(np.full(5, 3.0))
    for achieved in (5.0, 1.0):
        target.update(achieved)
        assert target.value == 3


@pytest.mark.parametrize(
    "settings", [dict(quantile=-0.1), dict(quantile=1.1), dict(rise=-1.0), dict(fall=-1.0), dict(headroom=-1.0)]
)
def test_senseless_settings_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        TargetReturn(**settings)
