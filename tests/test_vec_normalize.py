"""The model sees normalised observations; the buffers keep raw ones, and returns are always in the env's units."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

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
    mean = model.policy.standardizer.state_dict()["standardizers.vector_.mean"].numpy()
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
    with pytest.warns(UserWarning, match="had normalised, env has none"):
        model.set_env(DummyVecEnv([shifted_env]))
    assert model.get_vec_normalize_env() is None
    model.learn(10)


IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)


def images_of(model) -> np.ndarray:
    observations = model.replay_buffer.observations
    return (observations["image"] if isinstance(observations, dict) else observations)[: model.replay_buffer.size(), 0]


@pytest.mark.parametrize(
    ("wrap", "space"),
    [
        (lambda env: VecTransposeImage(VecNormalize(env, norm_obs_keys=["a"])), spaces.Dict({"image": IMAGE, "a": SPACE})),
        (
            lambda env: VecNormalize(env, norm_obs_keys=["a"]),
            spaces.Dict({"image": IMAGE, "a": SPACE}),
        ),  # SB3 transposes above
        (lambda env: VecNormalize(VecTransposeImage(env), norm_obs_keys=["a"]), spaces.Dict({"image": IMAGE, "a": SPACE})),
        (lambda env: VecTransposeImage(VecNormalize(env, norm_obs=False)), IMAGE),
        (lambda env: VecNormalize(VecTransposeImage(env), norm_obs=False), IMAGE),
    ],
)
def test_above_and_below_what_moves_the_channels_of_images(small_gac, diary_env, wrap, space):
    env = diary_env(space)
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "CnnPolicy"
    model = small_gac(wrap(DummyVecEnv([lambda: env])), policy, gradient_steps=0).learn(23)
    seen = np.stack([o["image"] if isinstance(o, dict) else o for o in env.observations])
    at_end = np.arange(len(seen)) % 6 == 5  # of each episode; nothing follows it
    np.testing.assert_array_equal(images_of(model), np.moveaxis(seen[~at_end], -1, 1)[:23])
    if isinstance(space, spaces.Dict):
        np.testing.assert_array_equal(model.replay_buffer.observations["a"][0, 0], env.observations[0]["a"])
    assert small_gac(model.get_env(), policy).learn(10).replay_buffer.returns.tolist() == [15.0] * 2


def test_what_makes_others_of_normalised_observations_is_refused(small_gac, make_env):
    with pytest.raises(ValueError, match=r"VecFrameStack makes other observations .* put the VecNormalize around it"):
        small_gac(VecFrameStack(make_env(), 2)).learn(10)
    assert small_gac(VecNormalize(VecFrameStack(make_env().venv, 2))).learn(10).replay_buffer.n_trajectories == 2


def standardizer_mean(model) -> np.ndarray:
    return model.policy.standardizer.state_dict()["standardizers.vector_.mean"].numpy()


class TestAnotherTime:
    """A model goes on with other environments than it was trained in."""

    @pytest.fixture
    def saved(self, small_gac, make_env, tmp_path):
        model = small_gac(make_env()).learn(100)
        model.save(tmp_path / "model")
        model.save_replay_buffer(tmp_path / "buffer")
        model.env.save(tmp_path / "statistics.pkl")
        return tmp_path

    @pytest.fixture
    def raw(self, shifted_env):
        return lambda: DummyVecEnv([shifted_env])

    def test_loaded_without_warns(self, saved, raw, make_env):
        with pytest.warns(UserWarning, match=r"had normalised, env has none: wrap it with VecNormalize.load"):
            GAC.load(saved / "model", env=raw())
        with pytest.warns(UserWarning, match="had normalised, env has none"):
            GAC.load(saved / "model").set_env(raw())
        with pytest.warns(UserWarning, match="had normalised, env has none"):
            GAC.load(saved / "model").set_env(make_env(norm_obs=False))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GAC.load(saved / "model")
            GAC.load(saved / "model", env=VecNormalize.load(saved / "statistics.pkl", raw())).learn(10)

    def test_attached_later(self, small_gac, make_env, raw):
        """Of a model that has its data nothing is lost: it sees what it saw before."""
        model = small_gac(raw(), learning_rate=0.0).learn(100)
        np.testing.assert_allclose(standardizer_mean(model), OFFSET, rtol=0.5)
        model._known_steps = []
        model._take_statistics()  # of all that there is by now
        obs = model.replay_buffer.observations[:50, 0]
        before, _ = model.predict(obs, deterministic=True)
        env = make_env(clip_obs=1e6)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.set_env(env)
        np.testing.assert_allclose(env.obs_rms.mean, model.replay_buffer.observations[:100, 0].mean(axis=0), rtol=1e-4)
        assert env.obs_rms.count == pytest.approx(100, abs=1)
        assert np.abs(standardizer_mean(model)).max() < 0.1
        after, _ = model.predict(env.normalize_obs(obs), deterministic=True)
        np.testing.assert_allclose(after, before, atol=1e-3)
        model.learn(20, reset_num_timesteps=False)

    def test_attached_without_data_warns(self, small_gac, make_env, raw, tmp_path):
        small_gac(raw()).learn(30).save(tmp_path / "model")
        with pytest.warns(UserWarning, match="was trained without the VecNormalize that env has"):
            model = GAC.load(tmp_path / "model", env=make_env())
        model.learn(30)
        assert np.abs(standardizer_mean(model)).max() < 5  # it follows what it sees now

    def test_a_fresh_one_is_warned_of(self, saved, make_env):
        model = GAC.load(saved / "model", env=make_env())
        with pytest.warns(UserWarning, match="has seen nothing yet, the model was trained with other statistics"):
            model.learn(10)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "the VecNormalize")
            model.learn(10)  # it has seen something

    def test_a_fresh_one_each_time_knows_the_data(self, saved, make_env):
        model = GAC.load(saved / "model", env=make_env())
        model.load_replay_buffer(saved / "buffer")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "the VecNormalize")
            for _ in range(3):
                np.testing.assert_allclose(model.env.obs_rms.mean, OFFSET, rtol=0.2)
                model.learn(10, reset_num_timesteps=False)
                model.set_env(make_env())
