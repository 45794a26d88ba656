"""What a saved model brings back, into which environments, and what is said when it does not fit."""

import io
import pathlib
import zipfile

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.save_util import load_from_zip_file, save_to_pkl
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC
from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.data.stored_buffer import read_buffer
from sb3_gac.policies import LatentPlanPolicy


def vec(env_class, n_envs, **kwargs) -> DummyVecEnv:
    return DummyVecEnv([lambda: env_class(**kwargs) for _ in range(n_envs)])


def observations(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, size=(n, 3)).astype(np.float32)


def act(model) -> np.ndarray:
    return model.predict(observations(), deterministic=True)[0]


@pytest.fixture
def model(small_gac, diary_env) -> GAC:
    return small_gac(diary_env()).learn(23)


@pytest.fixture
def saved(model, tmp_path) -> pathlib.Path:
    model.save(tmp_path / "model")
    return tmp_path / "model.zip"


def replay_buffer_sizes(folder: pathlib.Path, model: GAC) -> list[int]:
    return [read_buffer(file, model.replay_buffer).size() for file in sorted(folder.glob("*.safetensors"))]


@pytest.mark.parametrize("name", ["model", "model.zip", "model.v2"])
def test_an_interrupted_save_leaves_the_old_model(model, tmp_path, name, monkeypatch):
    model.save(tmp_path / name)
    (file,) = tmp_path.iterdir()
    assert file.name == ("model.zip" if name == "model" else name)
    before, old_actions = file.read_bytes(), act(model)
    model.learn(20)

    def break_down(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(th, "save", break_down)
        model.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
    np.testing.assert_array_equal(act(GAC.load(file)), old_actions)
    model.save(str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    np.testing.assert_array_equal(act(GAC.load(file)), act(model))


def test_an_interrupted_save_leaves_the_old_replay_buffer(model, tmp_path, monkeypatch):
    model.save_replay_buffer(tmp_path / "buffer")
    assert replay_buffer_sizes(tmp_path, model) == [23]
    model.learn(20, reset_num_timesteps=False)

    def break_down(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sb3_gac.data.stored_buffer._bytes", break_down)
        model.save_replay_buffer(tmp_path / "buffer")
    assert [path.name for path in tmp_path.iterdir()] == ["buffer.safetensors"]
    assert replay_buffer_sizes(tmp_path, model) == [23]
    model.save_replay_buffer(str(tmp_path / "buffer"))
    assert replay_buffer_sizes(tmp_path, model) == [43]
    with (tmp_path / "open.safetensors").open("wb") as stream:
        model.save_replay_buffer(stream)
    assert replay_buffer_sizes(tmp_path, model) == [43, 43]


def test_the_loaded_model_acts_the_same(model, saved):
    loaded = GAC.load(saved)
    np.testing.assert_array_equal(act(loaded), act(model))
    for name in ("num_timesteps", "_n_updates", "target_return", "batch_size", "policy_kwargs"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.replay_buffer.size() == 0
    assert loaded.get_env() is None


def test_settings_of_acting_that_were_changed_come_back(model, tmp_path):
    model.policy.planner.exploit_steps, model.policy.planner.replan_freq = 3, 2
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = GAC.load(tmp_path / "model")
    for policy in (loaded.policy, LatentPlanPolicy.load(tmp_path / "policy")):
        assert (policy.planner.exploit_steps, policy.planner.replan_freq) == (3, 2)
        np.testing.assert_array_equal(act(policy), act(model))
    assert loaded.policy_kwargs == {"net_arch": [16], "n_candidates": 8, "exploit_steps": 3, "replan_freq": 2}


def test_a_model_of_a_data_set(small_gac, make_dataset, tmp_path):
    model = small_gac().learn_offline(make_dataset(), 5)
    model.save(tmp_path / "model")
    loaded = GAC.load(tmp_path / "model")
    np.testing.assert_array_equal(act(loaded), act(model))
    assert loaded.offline_buffer is None
    loaded.learn_offline(make_dataset(), 5, reset_num_timesteps=False)
    assert (loaded.num_timesteps, loaded._n_updates) == (10, 10)


def observation_mean(model):
    return model.policy.standardizer.state_dict()["standardizers.vector_.mean"].clone()


def test_statistics_outlive_the_buffer(small_gac, diary_env, tmp_path):
    model = small_gac(diary_env()).learn(60)
    model.save(tmp_path / "model")
    loaded = GAC.load(tmp_path / "model", env=diary_env()).learn(20)
    assert th.equal(observation_mean(loaded), observation_mean(model))
    # As much has come together as there was
    loaded.learn(150)
    assert not th.equal(observation_mean(loaded), observation_mean(model))


@pytest.mark.parametrize("is_loaded", [False, True])
def test_statistics_of_a_data_set_stay_when_fine_tuning(small_gac, diary_env, make_dataset, tmp_path, is_loaded):
    model = small_gac(diary_env()).learn_offline(make_dataset(length=20), 5)
    before = observation_mean(model)
    if is_loaded:
        model.save(tmp_path / "model")
        model = GAC.load(tmp_path / "model", env=diary_env())
    model.learn(150)
    assert th.equal(observation_mean(model), before)
    # A data set brings its own
    model.learn_offline(make_dataset(length=10), 5)
    assert not th.equal(observation_mean(model), before)


def test_a_normalization_is_fitted_to_data_before_anything_is_logged(small_gac, diary_env, make_dataset, tmp_path):
    small_gac(diary_env()).learn_offline(make_dataset(), 5).save(tmp_path / "model")
    first, second = VecNormalize(vec(diary_env, 1)), VecNormalize(vec(diary_env, 1))
    GAC.load(tmp_path / "model", env=first).set_offline_data(make_dataset())
    model = GAC.load(tmp_path / "model")
    model.set_offline_data(make_dataset())
    model.set_env(second)
    n_steps = sum(map(len, make_dataset().trajectories))
    assert first.obs_rms.count == second.obs_rms.count == pytest.approx(n_steps, abs=0.01)


def test_statistics_stay_when_fine_tuning_is_resumed(small_gac, diary_env, make_dataset, tmp_path):
    """As the documentation has it: the model, its replay buffer, then its data set."""
    dataset = make_dataset(length=20)
    model = small_gac(diary_env()).learn_offline(dataset, 5).learn(150)
    before = observation_mean(model)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    resumed = GAC.load(tmp_path / "model", env=diary_env())
    resumed.load_replay_buffer(tmp_path / "buffer")
    resumed.set_offline_data(dataset)
    resumed.learn(50, reset_num_timesteps=False)
    assert th.equal(observation_mean(resumed), before)


def test_a_model_saved_while_it_learns_offline_is_fine_tuned_as_any_other(small_gac, diary_env, make_dataset, tmp_path):
    class Save(BaseCallback):
        def _on_step(self) -> bool:
            self.model.save(tmp_path / "model")
            return True

    model = small_gac(diary_env()).learn_offline(make_dataset(), 3, callback=Save())
    loaded = GAC.load(tmp_path / "model", env=diary_env())
    loaded.set_offline_data(make_dataset())
    loaded.learn(200)
    assert th.equal(observation_mean(loaded), observation_mean(model))


def test_a_folder_in_the_way_and_a_link(model, tmp_path):
    (tmp_path / "v1.0").mkdir()
    with pytest.warns(UserWarning, match=r"v1\.0 is a folder: saving to .*v1\.0_2"):
        model.save(tmp_path / "v1.0")
    np.testing.assert_array_equal(act(GAC.load(tmp_path / "v1.0_2")), act(model))
    (tmp_path / "link.zip").symlink_to(tmp_path / "target.zip")
    model.save(tmp_path / "link.zip")
    assert (tmp_path / "link.zip").is_symlink()
    np.testing.assert_array_equal(act(GAC.load(tmp_path / "target.zip")), act(model))


@pytest.mark.parametrize(
    ("file", "networks"),
    [
        ("policy.pth", {"model", "encoder", "planner", "standardizer"}),
        ("credit.pth", {"credit_net", "reward_net", "spread_net"}),
    ],
)
def test_every_network_is_saved_as_plain_tensors(saved, file, networks):
    with zipfile.ZipFile(saved) as archive, archive.open(file) as stream:
        tensors = th.load(io.BytesIO(stream.read()), weights_only=True)
    assert {tensor.dtype for tensor in tensors.values()} <= {th.float32, th.float64}
    assert {name.split(".")[0] for name in tensors} == networks


def test_no_arrays_no_networks_in_the_attributes(saved):
    data, _, _ = load_from_zip_file(saved)
    assert (
        not {"policy", "actor", "credit", "replay_buffer", "offline_buffer", "_last_plans", "_rollout_returns"} & data.keys()
    )
    with zipfile.ZipFile(saved) as archive:
        assert archive.getinfo("data").file_size < 100_000


@pytest.mark.parametrize("as_file", [True, False])
def test_paths_and_open_files(model, tmp_path, as_file):
    if as_file:
        with open(tmp_path / "model.zip", "wb") as file:
            model.save(file)
        with open(tmp_path / "model.zip", "rb") as file:
            loaded = GAC.load(file)
    else:
        model.save(str(tmp_path / "model"))
        loaded = GAC.load(str(tmp_path / "model.zip"))
    np.testing.assert_array_equal(act(loaded), act(model))


def test_exclude_include_custom_objects(model, tmp_path):
    model.verbose = 2
    model.save(tmp_path / "model", exclude=["verbose"])
    assert GAC.load(tmp_path / "model").verbose == 0
    model.save(tmp_path / "model", exclude=["verbose"], include=["verbose"])
    loaded = GAC.load(tmp_path / "model", custom_objects=dict(learning_rate=2e-5, dummy=1))
    assert (loaded.verbose, loaded.learning_rate) == (2, 2e-5)
    assert not hasattr(loaded, "dummy")


def test_other_hyper_parameters(saved, diary_env):
    loaded = GAC.load(saved, env=diary_env(), train_freq=(4, "step"), gradient_steps=2, learning_starts=0)
    n_updates = loaded._n_updates
    loaded.learn(8)
    assert loaded._n_updates == n_updates + 4


def test_what_is_given_to_load_takes_effect(saved, diary_env):
    loaded = GAC.load(saved, env=diary_env(), kl_coef=0.25)
    assert loaded._current_kl_coef() == pytest.approx(0.25)
    assert loaded.target_return == GAC.load(saved).target_return
    loaded.learn(10)
    assert loaded._current_kl_coef() == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"offline_ratio must be in \[0, 1\], got 2"):
        GAC.load(saved, offline_ratio=2)


def test_a_schedule_survives(small_gac, diary_env, tmp_path):
    small_gac(diary_env(), learning_rate=lambda progress: 0.25 * progress).save(tmp_path / "model")
    assert GAC.load(tmp_path / "model").lr_schedule(0.5) == 0.125


@pytest.mark.parametrize("name", ["policy", "credit"])
def test_the_optimizers_go_on_where_they_were(model, saved, name):
    loaded = GAC.load(saved)
    states = [getattr(m, name).optimizer.state_dict()["state"] for m in (model, loaded)]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 0
    for key, state in states[0].items():
        assert th.equal(state["exp_avg"], states[1][key]["exp_avg"])


@pytest.mark.parametrize("n_envs", [1, 3])
def test_learning_goes_on_in_any_number_of_envs(saved, diary_env, n_envs):
    loaded = GAC.load(saved, env=vec(diary_env, n_envs))
    assert loaded.replay_buffer.n_envs == n_envs
    loaded.learn(30, reset_num_timesteps=False)
    assert loaded.num_timesteps == 23 + 30
    assert loaded.replay_buffer.lengths.tolist() == [5] * 6
    # Without an env any number may be given later, too
    later = GAC.load(saved)
    later.set_env(vec(diary_env, n_envs))
    assert later.learn(30).replay_buffer.lengths.tolist() == [5] * 6


def test_action_noise_in_another_number_of_envs(small_gac, diary_env, tmp_path):
    noise = NormalActionNoise(mean=np.full(2, 5.0), sigma=np.zeros(2))
    small_gac(vec(diary_env, 2), action_noise=noise).learn(10).save(tmp_path / "model")
    loaded = GAC.load(tmp_path / "model", env=vec(diary_env, 3)).learn(12)
    assert (loaded.replay_buffer.actions[:4] == 1).all()


def test_the_env_goes_on_or_is_reset(model, tmp_path):
    env = model.get_env()
    diary = env.envs[0].unwrapped
    model.save(tmp_path / "model")
    n_resets = diary.n_resets

    GAC.load(tmp_path / "model", env=env, force_reset=False).learn(1, reset_num_timesteps=False)
    assert diary.n_resets == n_resets
    assert diary.n_steps == 4  # 23 steps in episodes of 5 were learnt from
    GAC.load(tmp_path / "model", env=env).learn(1, reset_num_timesteps=False)
    assert diary.n_resets == n_resets + 1


class TestSetEnv:
    def test_the_number_of_envs_stays(self, model, diary_env):
        with pytest.raises(AssertionError, match=r"2 != 1.*GAC.load"):
            model.set_env(vec(diary_env, 2))
        # and nothing has happened
        assert model.n_envs == 1
        assert model.replay_buffer.n_trajectories == 4

    def test_the_open_trajectory_is_dropped(self, model, diary_env):
        model.set_env(diary_env())
        assert model.replay_buffer.lengths.tolist() == [5, 5, 5, 5]
        assert not model._last_plans.plans.any() and not model._last_plans.ages.any()
        model.learn(10, reset_num_timesteps=False)
        assert model.replay_buffer.lengths.tolist() == [5] * 6

    def test_the_same_env_goes_on(self, model):
        model.set_env(model.get_env(), force_reset=False)
        model.learn(2, reset_num_timesteps=False)
        assert model.replay_buffer.lengths.tolist() == [5] * 5

    def test_a_model_made_without(self, small_gac, diary_env):
        model = small_gac()
        model.set_env(vec(diary_env, 2))
        assert model.learn(20).replay_buffer.n_trajectories == 4


class TestReplayBuffer:
    def test_it_comes_back(self, model, tmp_path):
        model.save_replay_buffer(tmp_path / "buffer")
        loaded = GAC.load(_save(model, tmp_path), env=model.get_env())
        loaded.load_replay_buffer(tmp_path / "buffer")
        for name in ("observations", "actions", "rewards", "dones", "timeouts"):
            np.testing.assert_array_equal(getattr(loaded.replay_buffer, name), getattr(model.replay_buffer, name))
        assert loaded.replay_buffer.lengths.tolist() == [5] * 4
        assert loaded.replay_buffer.device == loaded.device

    def test_it_comes_back_where_there_is_none(self, model, tmp_path):
        """As SB3's own test of replay buffers does."""
        model.save_replay_buffer(tmp_path / "buffer")
        held, model.replay_buffer = model.replay_buffer, None
        model.load_replay_buffer(tmp_path / "buffer")
        np.testing.assert_array_equal(model.replay_buffer.observations, held.observations)
        assert model.replay_buffer.buffer_size == held.buffer_size and model.replay_buffer.n_envs == held.n_envs
        model.device = th.device("cuda")  # a buffer goes where the model is
        model.load_replay_buffer(tmp_path / "buffer")
        assert model.replay_buffer.device == model.device

    def test_learn_lets_go_of_what_was_under_way(self, model, diary_env, tmp_path):
        model.save_replay_buffer(tmp_path / "buffer.pkl")
        loaded = GAC.load(_save(model, tmp_path), env=diary_env())
        loaded.load_replay_buffer(tmp_path / "buffer.pkl")
        loaded.learn(5, reset_num_timesteps=False)
        assert loaded.replay_buffer.lengths.tolist() == [5] * 5

    def test_or_goes_on_with_it(self, model, tmp_path):
        model.save_replay_buffer(tmp_path / "buffer.pkl")
        loaded = GAC.load(_save(model, tmp_path), env=model.get_env(), force_reset=False)
        loaded.load_replay_buffer(tmp_path / "buffer.pkl", truncate_last_traj=False)
        loaded.learn(2, reset_num_timesteps=False)
        assert loaded.replay_buffer.returns.tolist() == [15.0] * 5

    def test_for_another_number_of_envs(self, model, diary_env, tmp_path):
        model.save_replay_buffer(tmp_path / "buffer.pkl")
        loaded = GAC.load(_save(model, tmp_path), env=vec(diary_env, 2))
        with open(tmp_path / "buffer.pkl", "rb") as file:
            loaded.load_replay_buffer(file)
        assert loaded.replay_buffer.n_envs == 2
        assert loaded.replay_buffer.lengths.tolist() == [5] * 4
        assert loaded.learn(10).replay_buffer.n_trajectories == 6

    def test_a_pickle(self, model, tmp_path):
        save_to_pkl(tmp_path / "buffer.pkl", ReplayBuffer(10, model.observation_space, model.action_space))
        with pytest.raises(ValueError, match=r"buffer\.pkl is not a replay buffer that can be loaded: its header has"):
            model.load_replay_buffer(tmp_path / "buffer.pkl")
        assert model.replay_buffer.n_trajectories == 4

    def test_a_class_that_keeps_no_trajectories(self, small_gac, diary_env):
        with pytest.raises(TypeError, match="must be a TrajectoryReplayBuffer, not ReplayBuffer"):
            small_gac(diary_env(), replay_buffer_class=ReplayBuffer)

    def test_a_class_and_arguments_of_ones_own(self, small_gac, diary_env):
        class Mine(TrajectoryReplayBuffer):
            pass

        model = small_gac(
            diary_env(terminates=False),
            replay_buffer_class=Mine,
            replay_buffer_kwargs=dict(handle_timeout_termination=False),
            optimize_memory_usage=True,
        )
        model.learn(10)
        assert type(model.replay_buffer) is Mine
        assert not model.replay_buffer.timeouts.any()

    def test_a_model_to_enjoy_takes_no_memory(self, small_gac, diary_env):
        model = small_gac(diary_env(spaces.Box(0, 255, (10_000,), np.uint8)), buffer_size=100_000_000)
        act_once = model.predict(np.zeros(10_000, dtype=np.uint8))
        assert act_once[0].shape == (2,)


class TestParameters:
    def test_there_and_back(self, model, small_gac, diary_env):
        other = small_gac(diary_env(), seed=1)
        assert not np.allclose(act(other), act(model))
        other.set_parameters(model.get_parameters())
        np.testing.assert_array_equal(act(other), act(model))

    def test_names(self, model):
        assert model.get_parameters().keys() == {"policy", "policy.optimizer", "credit", "credit.optimizer"}

    @pytest.mark.parametrize("exact_match", [True, False])
    def test_an_unknown_name(self, model, exact_match):
        with pytest.raises(ValueError, match="q_net is an invalid object name"):
            model.set_parameters(dict(q_net={}), exact_match=exact_match)

    def test_missing_ones(self, model):
        parameters = model.get_parameters()
        with pytest.raises(ValueError, match="do not match"):
            model.set_parameters(dict(policy=parameters["policy"]))
        model.set_parameters(dict(policy=parameters["policy"]), exact_match=False)
        parameters["policy"].popitem()
        with pytest.raises(RuntimeError, match="Missing key"):
            model.set_parameters(parameters)

    def test_every_one_is_loaded(self, model):
        """Also the statistics: whatever the model knows is in its state dict."""
        random = {name: th.rand_like(part) for name, part in model.policy.state_dict().items()}
        model.policy.load_state_dict(random)
        for name, part in model.policy.state_dict().items():
            assert part.numel() > 0 and th.equal(part, random[name]), name
        assert np.isfinite(act(model)).all()


class TestPolicy:
    def test_alone(self, model, tmp_path):
        model.policy.save(tmp_path / "policy.pkl")
        loaded = LatentPlanPolicy.load(tmp_path / "policy.pkl")
        np.testing.assert_array_equal(act(loaded), act(model))
        # It explores with the same target return
        assert loaded.planner.target_return == model.target_return.value == 15.0

    def test_options_come_back(self, small_gac, diary_env, tmp_path):
        options = dict(
            net_arch=dict(pi=[8], qf=[4]),
            activation_fn=th.nn.Tanh,
            plan_dim=3,
            plan_horizon=7,
            n_critics=2,
            n_candidates=5,
            exploit_steps=1,
            explore_steps=2,
            replan_freq=4,
            optimizer_class=th.optim.AdamW,
        )
        model = small_gac(diary_env(), policy_kwargs=options).learn(10)
        model.policy.save(tmp_path / "policy.pkl")
        found = (loaded := LatentPlanPolicy.load(tmp_path / "policy.pkl"))._get_constructor_parameters()
        assert found.keys() == model.policy._get_constructor_parameters().keys() >= options.keys()
        assert {name: found[name] for name in options} == options
        np.testing.assert_array_equal(act(loaded), act(model.policy))


class TestErrors:
    def test_an_env_of_another_space(self, saved, diary_env):
        with pytest.raises(ValueError, match="Observation spaces do not match"):
            GAC.load(saved, env=diary_env(spaces.Box(-1, 1, (4,))))

    def test_other_policy_kwargs(self, saved):
        with pytest.raises(ValueError, match="policy kwargs do not equal"):
            GAC.load(saved, policy_kwargs=dict(net_arch=[32]))

    def test_a_file_that_is_no_archive(self, tmp_path):
        (tmp_path / "model.zip").write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match="wasn't a zip-file"):
            GAC.load(tmp_path / "model.zip")

    def test_an_archive_cut_short(self, saved):
        saved.write_bytes(saved.read_bytes()[:-200])
        with pytest.raises(AssertionError, match="No data found"):
            GAC.load(saved)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            GAC.load(tmp_path / "model.zip")


def _save(model: GAC, folder: pathlib.Path) -> pathlib.Path:
    model.save(folder / "model")
    return folder / "model.zip"
