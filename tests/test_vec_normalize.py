"""The model sees normalised observations; the buffers keep raw ones, and returns are always in the env's units."""

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, Trajectory

SPACE = spaces.Box(-np.inf, np.inf, (3,), np.float32)
OFFSET, SCALE = np.float32([5.0, -5.0, 100.0]), np.float32([1.0, 2.0, 10.0])


@pytest.fixture
def shifted_env(diary_env):
    """Observations far from standard; rewards 1, 2, ..., 5 as ever."""

    class ShiftedEnv(diary_env):
        def __init__(self) -> None:
            super().__init__(SPACE)

        def observe(self):
            self.observations.append(OFFSET + SCALE * np.random.randn(3).astype(np.float32))
            return self.observations[-1]

    return ShiftedEnv


@pytest.fixture
def make_env(shifted_env):
    return lambda n_envs=1, **kwargs: VecNormalize(DummyVecEnv([shifted_env] * n_envs), **kwargs)


@pytest.fixture
def dataset(diary_env) -> OfflineDataset:
    action_space = diary_env().action_space
    trajectories = [
        Trajectory(
            OFFSET + SCALE * np.random.randn(20, 3).astype(np.float32),
            np.stack([action_space.sample() for _ in range(20)]),
            np.full(20, float(i)),
            True,
            False,
        )
        for i in range(10)
    ]
    return OfflineDataset(trajectories, SPACE, action_space, "shifted")


def stored(dataset: OfflineDataset) -> np.ndarray:
    return np.concatenate([trajectory.observations for trajectory in dataset.trajectories])


@pytest.mark.parametrize("n_envs", [1, 2])
def test_online(small_gac, make_env, n_envs):
    env = make_env(n_envs)
    model = small_gac(env).learn(20)
    buffer = model.replay_buffer
    n_rows = 20 // n_envs
    assert buffer.returns.tolist() == [15.0] * 4
    diary = env.venv.envs[0].unwrapped
    np.testing.assert_array_equal(buffer.observations[:5, 0], diary.observations[:5])
    assert model.target_return.value == 15.0

    # What the networks are shown is normalised by the statistics of now
    batch = model._sample_batch(50, 4)
    shown = batch.observations.numpy().reshape(-1, 3)
    normalised = env.normalize_obs(buffer.observations[:n_rows].reshape(-1, 3))
    assert {tuple(row) for row in shown.round(4)} <= {tuple(row) for row in normalised.round(4)}
    assert set(batch.returns.tolist()) == {15.0}


def test_acting_and_learning_see_the_same(small_gac, make_env):
    env = make_env(training=False)
    env.obs_rms.mean, env.obs_rms.var = OFFSET.astype(np.float64), SCALE.astype(np.float64) ** 2
    model = small_gac(env).learn(20)
    last = env.normalize_obs(env.venv.envs[0].unwrapped.observations[-1])
    np.testing.assert_allclose(model._last_obs[0], last, rtol=1e-5)
    assert np.abs(model._sample_batch(20, 4).observations.numpy()).max() < 5


def test_fresh_statistics_are_those_of_the_data(small_gac, make_env, dataset):
    env = make_env()
    small_gac(env).set_offline_data(dataset)
    np.testing.assert_allclose(env.obs_rms.mean, stored(dataset).mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(env.obs_rms.var, stored(dataset).var(axis=0), rtol=1e-3)
    assert env.obs_rms.count == pytest.approx(200, abs=1)


def test_statistics_that_have_seen_something_stay(small_gac, make_env, dataset):
    env = make_env()
    env.reset()
    before = env.obs_rms.mean.copy()
    small_gac(env).set_offline_data(dataset)
    np.testing.assert_array_equal(env.obs_rms.mean, before)


@pytest.mark.parametrize("frozen", [dict(training=False), dict(norm_obs=False)])
def test_frozen_statistics_stay(small_gac, make_env, dataset, frozen):
    env = make_env(**frozen)
    small_gac(env).learn_offline(dataset, 2)
    assert not env.norm_obs or env.obs_rms.count < 1


def test_an_env_that_comes_after_the_data(small_gac, make_env, dataset):
    model = small_gac().learn_offline(dataset, 2)
    env = make_env(2)
    model.set_env(env)
    np.testing.assert_allclose(env.obs_rms.mean, stored(dataset).mean(axis=0), rtol=1e-4)
    # The standardisation of the model follows the one of the env, before it learns again
    mean = model.actor.standardizer.state_dict()["standardizers.vector_.mean"].numpy()
    assert np.abs(mean).max() < 1
    model.learn(10)


def test_offline_then_online(small_gac, make_env, dataset):
    model = small_gac(make_env(2)).learn_offline(dataset, 5)
    batch = model._sample_batch(20, 10)
    assert np.abs(batch.observations.numpy().mean(axis=(0, 1))).max() < 0.5
    assert set(batch.returns.tolist()) <= {20.0 * i for i in range(10)}
    model.learn(20)
    assert model.replay_buffer.returns.tolist() == [15.0] * 4


def test_only_some_keys(small_gac, diary_env, make_dataset):
    space = spaces.Dict({"a": SPACE, "b": spaces.Box(3, 4, (2,)), "c": spaces.Discrete(3)})
    env = VecNormalize(DummyVecEnv([lambda: diary_env(space)]), norm_obs_keys=["a"])
    data = make_dataset(space)
    model = small_gac(env, policy="MultiInputLatentPolicy").learn_offline(data, 2)
    seen = np.concatenate([trajectory.observations["a"] for trajectory in data.trajectories])
    np.testing.assert_allclose(env.obs_rms["a"].mean, seen.mean(axis=0), atol=0.2)
    batch = model.learn(10)._sample_batch(20, 2)
    assert (batch.observations["b"] >= 3).all()
    assert (batch.observations["a"].abs() < 10).all()


def test_evaluation_shares_the_statistics(small_gac, make_env, dataset):
    env, eval_env = make_env(), make_env(training=False, norm_reward=False)
    callback = EvalCallback(eval_env, eval_freq=2, n_eval_episodes=1, verbose=0, warn=False)
    small_gac(env).learn_offline(dataset, 2, callback)
    np.testing.assert_array_equal(eval_env.obs_rms.mean, env.obs_rms.mean)
    assert callback.last_mean_reward == 15.0


def test_saved_beside_the_model(small_gac, make_env, tmp_path):
    env = make_env()
    model = small_gac(env).learn(20)
    model.save(tmp_path / "model")
    env.save(tmp_path / "normalize.pkl")
    loaded_env = VecNormalize.load(tmp_path / "normalize.pkl", make_env().venv)
    loaded = GAC.load(tmp_path / "model", env=loaded_env)
    assert loaded.get_vec_normalize_env() is loaded_env
    np.testing.assert_array_equal(loaded_env.obs_rms.mean, env.obs_rms.mean)
    obs = env.normalize_obs(OFFSET)
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.learn(10).replay_buffer.returns.tolist() == [15.0] * 2


def test_another_env_is_normalised_by_its_own(small_gac, make_env, shifted_env):
    model = small_gac(make_env()).learn(10)
    other = make_env()
    model.set_env(other)
    assert model.get_vec_normalize_env() is other
    model.set_env(DummyVecEnv([shifted_env]))
    assert model.get_vec_normalize_env() is None
    model.learn(10)
