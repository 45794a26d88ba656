from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC
from sb3_gac.evaluation import TargetReturnPolicy, evaluate_target_returns, known_returns, play


def test_the_policy_conditions_on_its_target_return(small_gac: Any, diary_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = diary_env()
    model = small_gac(env)
    targets = []
    predict = model.policy.predict
    monkeypatch.setattr(model.policy, "predict", lambda *args: (targets.append(args[-1]), predict(*args))[1])
    mean, std = evaluate_policy(TargetReturnPolicy(model, 7.0), env, n_eval_episodes=2, warn=False)
    assert (mean, std) == (15.0, 0.0)  # 1 + 2 + ... + 5 whatever is done
    assert targets == [7.0] * 10


def test_every_target_return_has_the_same_starts(small_gac: Any, diary_env: Any) -> None:
    envs = [diary_env(), diary_env()]
    found = evaluate_target_returns(
        small_gac(envs[0]), DummyVecEnv([lambda env=env: env for env in envs]), [3.0, 4.0], n_episodes=2
    )
    np.testing.assert_array_equal(found.targets, [3.0, 4.0])
    np.testing.assert_array_equal(found.returns, np.full((2, 2), 15.0))
    assert found.known is None
    # The first episode of each return begins with the first observation after a reset with the same seed
    for env in envs:
        first, second = env.observations[0], env.observations[len(env.observations) // 2]
        np.testing.assert_array_equal(first, second)


def test_by_default_the_returns_are_those_of_the_data(small_gac: Any, diary_env: Any, make_dataset: Any) -> None:
    model = small_gac(diary_env())
    model.set_offline_data(make_dataset())  # returns 0, 5, ..., 25
    found = evaluate_target_returns(model, diary_env(), n_episodes=1)
    np.testing.assert_allclose(found.targets, np.linspace(0, 25, 7))
    assert found.known == known_returns(model) == (0.0, 25.0)


def test_learning_goes_on_as_if_nobody_had_played(small_gac: Any, diary_env: Any, make_dataset: Any) -> None:
    data, weights = make_dataset(), []
    for is_evaluated in (False, True):
        model: GAC = small_gac(diary_env())
        model.learn_offline(data, 2)
        if is_evaluated:
            evaluate_target_returns(model, diary_env(), n_episodes=1, deterministic=False)
        model.learn_offline(None, 2)
        weights.append(th.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert th.equal(*weights)


def test_the_statistics_of_a_normalised_env_stay(small_gac: Any, diary_env: Any) -> None:
    env = VecNormalize(DummyVecEnv([diary_env]))
    model = small_gac(env)
    before = env.obs_rms.count
    found = evaluate_target_returns(model, env, [1.0], n_episodes=1)
    assert found.returns == 15.0  # not the normalised one
    assert env.obs_rms.count == before and env.training


def test_the_episode_of_the_training_env_is_over(small_gac: Any, diary_env: Any) -> None:
    model = small_gac(diary_env(), learning_starts=100)
    model.learn(3)
    evaluate_target_returns(model, model.get_env(), [1.0], n_episodes=1)
    model.learn(5, reset_num_timesteps=False)
    # The three steps before are no episode, and the next one begins where the env does
    assert model.replay_buffer.returns.tolist() == [15.0]


def test_what_makes_no_sense_is_refused(small_gac: Any, diary_env: Any) -> None:
    model = small_gac(diary_env())
    with pytest.raises(ValueError, match="give target_returns"):
        evaluate_target_returns(model, diary_env())
    with pytest.raises(ValueError, match="target_returns are empty"):
        evaluate_target_returns(model, diary_env(), [])
    with pytest.raises(ValueError, match="n_episodes must be at least 1, got 0"):
        evaluate_target_returns(model, diary_env(), [1.0], n_episodes=0)


def test_an_episode_is_played_as_the_model_sees_it(small_gac: Any, diary_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = VecNormalize(DummyVecEnv([diary_env]))
    model = small_gac(env).learn(20)
    seen = []
    predict = model.policy.predict
    monkeypatch.setattr(model.policy, "predict", lambda obs, *rest: (seen.append(obs), predict(obs, *rest))[1])
    count, played = env.obs_rms.count, diary_env()
    (trajectory,) = play(model, played, 1)
    np.testing.assert_allclose(np.concatenate(seen), env.normalize_obs(trajectory.observations), rtol=1e-6)
    np.testing.assert_array_equal(trajectory.observations, played.observations[:5])
    assert trajectory.rewards.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert env.obs_rms.count == count


def test_the_same_starts_with_other_plans(small_gac: Any, diary_env: Any) -> None:
    model = small_gac(diary_env())
    first, other, same = (play(model, diary_env(), 1, 3, deterministic=False, plan_seed=seed)[0] for seed in (3, 4, 3))
    np.testing.assert_array_equal(first.observations, other.observations)
    assert (first.actions != other.actions).any()
    np.testing.assert_array_equal(first.actions, same.actions)
