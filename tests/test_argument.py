"""Arguments that make no sense are refused at once, with their name, what was given and what is expected."""

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.ppo import MlpPolicy as PPOPolicy

from sb3_gac import GAC


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("batch_size", 0, "at least 1"),
        ("buffer_size", 0, "at least 1"),
        ("gradient_steps", 0.5, "a whole number"),
        ("gamma", 1.1, "in [0, 1]"),
        ("gae_lambda", -0.1, "in [0, 1]"),
        ("advantage_temperature", 0.0, "above 0 or None"),
        ("advantage_temperature", float("nan"), "above 0 or None"),
        ("posterior_steps", -1, "at least 0"),
        ("effective_horizon", 0.0, "above 0"),
        ("target_kl", 0.0, "above 0"),
        ("target_kl", float("nan"), "above 0"),
        ("max_grad_norm", 0.0, "above 0"),
        ("explore_ratio", -0.1, "in [0, 1]"),
        ("offline_ratio", 2.0, "in [0, 1]"),
        ("kl_coef", 0.0, "'auto' or a number above 0"),
        ("kl_coef", "sometimes", "'auto' or a number above 0"),
    ],
)
@pytest.mark.parametrize("has_env", [True, False])
def test_numbers_out_of_range(small_gac, diary_env, name, value, expected, has_env):
    with pytest.raises(ValueError) as error:
        small_gac(diary_env() if has_env else None, **{name: value})
    assert str(error.value) == f"{name} must be {expected}, got {value!r}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("plan_dim", 0, "at least 1"),
        ("plan_horizon", 0, "at least 1 or None"),
        ("n_critics", 0, "at least 1"),
        ("n_candidates", 0, "at least 1"),
        ("exploit_steps", -1, "at least 0"),
        ("explore_steps", -1, "at least 0"),
        ("replan_freq", 0, "at least 1"),
    ],
)
def test_numbers_of_the_actor_out_of_range(small_gac, diary_env, name, value, expected):
    with pytest.raises(ValueError) as error:
        small_gac(diary_env(), policy_kwargs={name: value})
    assert str(error.value) == f"{name} must be {expected}, got {value!r}"


def test_bounds_are_allowed(small_gac, diary_env):
    numbers = dict(batch_size=1, gradient_steps=-1, gamma=1.0, gae_lambda=0.0, explore_ratio=0.0, offline_ratio=1.0)
    policy_kwargs = dict(plan_horizon=1, replan_freq=1, n_candidates=1)
    small_gac(diary_env(), kl_coef=0.5, policy_kwargs=policy_kwargs, **numbers).learn(10)


@pytest.mark.parametrize("policy", [None, PPOPolicy, "a model"])
def test_what_is_no_policy_of_gac(small_gac, diary_env, policy):
    with pytest.raises(ValueError, match=r"must subclass LatentPlanPolicy|a model unknown"):
        small_gac(diary_env(), policy=policy)


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_a_model_of_another_algorithm(diary_env, tmp_path, algorithm):
    algorithm("MlpPolicy", diary_env(), policy_kwargs=dict(net_arch=[4]), seed=0).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"is the model of another algorithm\?"):
        GAC.load(tmp_path / "model")


class TestState:
    """What is passed to predict from the last call."""

    OBS = np.zeros((2, 3), dtype=np.float32)

    @pytest.fixture
    def model(self, small_gac, diary_env) -> GAC:
        return small_gac(diary_env()).learn(10)

    @pytest.mark.parametrize("n_parts", [1, 3])
    def test_of_another_policy(self, model, n_parts):
        _, state = model.predict(self.OBS)
        with pytest.raises(ValueError, match="is no PlanState"):
            model.predict(self.OBS, (state.plans,) * n_parts)

    def test_an_array(self, model):
        _, state = model.predict(self.OBS)
        with pytest.raises(ValueError, match="is no PlanState"):
            model.predict(self.OBS, state.plans)

    def test_lstm_states(self, model):
        lstm_states = np.zeros((1, 2, 16)), np.zeros((1, 2, 16))
        with pytest.raises(ValueError, match=r"shapes \(\(1, 2, 16\), \(1, 2, 16\)\), expected \(\(2, 16\), \(2,\)\)"):
            model.predict(self.OBS, lstm_states)

    def test_of_other_envs(self, model):
        _, state = model.predict(self.OBS)
        with pytest.raises(ValueError, match=r"expected \(\(1, 16\), \(1,\)\)"):
            model.predict(self.OBS[0], state)

    def test_episode_start_of_other_envs(self, model):
        _, state = model.predict(self.OBS)
        with pytest.raises(ValueError, match=r"episode_start of shape \(3,\), expected \(2,\)"):
            model.predict(self.OBS, state, np.ones(3, dtype=bool))

    def test_a_list_of_starts(self, model):
        _, state = model.predict(self.OBS)
        assert model.predict(self.OBS, state, [True, False])[1].ages.tolist() == [1, 2]
