"""A killed run that resumes from its last checkpoint ends as the one that was never killed, bit for bit."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC, ExactCheckpointCallback, atomic, latest_checkpoint, load_checkpoint, save_checkpoint
from sb3_gac.data import TrajectoryReplayBuffer
from tests.killing import kill_and_resume

N_OFFLINE, N_ONLINE = 20, 60


class Killed(Exception):
    """What stands for a kill within a process."""


class KillAt(ExactCheckpointCallback):
    """Checkpoints until a step comes that is the last."""

    def __init__(self, step: int, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.step_of_death = step

    def _on_step(self) -> bool:
        super()._on_step()
        if self.num_timesteps >= self.step_of_death:
            raise Killed
        return True


def pendulums(max_steps=(10, 7), normalized=False):
    """Two pendulums whose episodes end at different times."""
    env = DummyVecEnv([lambda n=n: gym.make("Pendulum-v1", max_episode_steps=n) for n in max_steps])
    return VecNormalize(env) if normalized else env


def disturb() -> None:
    """Leave the random number generators as a new process would not find them."""
    random.seed(99)
    np.random.seed(99)
    th.manual_seed(99)


def assert_identical(model: GAC, other: GAC) -> None:
    assert model.num_timesteps == other.num_timesteps
    assert model._log_kl_coef == other._log_kl_coef
    assert model.target_return == other.target_return
    parameters, others = model.get_parameters(), other.get_parameters()
    for part in ("policy", "credit"):
        for name, tensor in parameters[part].items():
            assert th.equal(tensor, others[part][name]), name
    for optimizer in ("policy.optimizer", "credit.optimizer"):
        for index, moments in parameters[optimizer]["state"].items():
            for name, value in moments.items():
                assert th.equal(value, others[optimizer]["state"][index][name]), name
    for array in ("observations", "actions", "rewards", "weights", "advantages", "returns", "lengths"):
        np.testing.assert_array_equal(getattr(model.replay_buffer, array), getattr(other.replay_buffer, array))
    if model.offline_buffer is not None:
        for array in ("weights", "advantages"):
            np.testing.assert_array_equal(getattr(model.offline_buffer, array), getattr(other.offline_buffer, array))


@pytest.fixture
def data(small_gac) -> TrajectoryReplayBuffer:
    """A replay buffer full of a pendulum's episodes."""
    return small_gac(pendulums((10,)), learning_starts=1000).learn(50).replay_buffer


def online_model(small_gac, normalized=False, **kwargs) -> GAC:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(1), 0.1 * np.ones(1))
    schedule = {"learning_rate": lambda progress: 1e-3 * progress}
    return small_gac(pendulums(normalized=normalized), action_noise=noise, **schedule, **kwargs)


@pytest.mark.parametrize("step_of_death", [26, 44])
@pytest.mark.parametrize("normalized", [False, True])
def test_online(small_gac, tmp_path, step_of_death, normalized):
    whole = online_model(small_gac, normalized)
    whole.learn(N_ONLINE, ExactCheckpointCallback(12, tmp_path / "whole", patience=4))
    with pytest.raises(Killed):
        online_model(small_gac, normalized).learn(N_ONLINE, KillAt(step_of_death, 12, tmp_path / "killed", patience=4))
    disturb()
    model = load_checkpoint(tmp_path / "killed", pendulums(normalized=normalized), device="cpu")
    assert 0 < model.num_timesteps < step_of_death
    callback = ExactCheckpointCallback(12, tmp_path / "killed", patience=4)
    model.learn(N_ONLINE - model.num_timesteps, callback, reset_num_timesteps=False)
    assert_identical(whole, model)
    if normalized:
        np.testing.assert_array_equal(whole.get_vec_normalize_env().obs_rms.mean, model.get_vec_normalize_env().obs_rms.mean)


def test_rewards_alone_are_normalised(small_gac, tmp_path):
    def env():
        return VecNormalize(pendulums(), norm_obs=False)

    model = small_gac(env()).learn(30)
    checkpoint = save_checkpoint(model, tmp_path)
    loaded = load_checkpoint(tmp_path, env(), device="cpu")
    assert vars(loaded.get_vec_normalize_env().ret_rms) == vars(model.get_vec_normalize_env().ret_rms)
    with pytest.raises(ValueError, match=f"{checkpoint} was saved with a VecNormalize of ret_rms, env has another"):
        load_checkpoint(tmp_path, pendulums(normalized=True), device="cpu")


@pytest.mark.parametrize("has_env", [False, True])
def test_offline_and_then_online(small_gac, data, tmp_path, has_env):
    def make() -> GAC:
        return small_gac(pendulums() if has_env else None)

    def go_on(model: GAC) -> GAC:
        if not has_env:
            model.set_env(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
            model.env.seed(0)
        return model.learn(10)

    whole = make().learn_offline(data, N_OFFLINE, ExactCheckpointCallback(6, tmp_path / "whole"))
    whole_state = np.random.get_state()
    with pytest.raises(Killed):
        make().learn_offline(data, N_OFFLINE, KillAt(15, 6, tmp_path / "killed"))
    disturb()
    model = load_checkpoint(tmp_path / "killed", pendulums() if has_env else None, device="cpu")
    assert model.num_timesteps == 12
    callback = ExactCheckpointCallback(6, tmp_path / "killed")
    model.learn_offline(None, N_OFFLINE - model.num_timesteps, callback, reset_num_timesteps=False)
    assert_identical(whole, model)
    np.testing.assert_array_equal(np.random.get_state()[1], whole_state[1])
    for each in (whole, model):  # both from here in one process
        disturb()
        go_on(each)
    assert_identical(whole, model)


def test_credit_of_the_data_set_comes_back(small_gac, data, tmp_path):
    model = small_gac(pendulums()).learn_offline(data, 2)
    checkpoints, credit = [], []
    for n_timesteps in (0, 120):  # long enough for advantages to be estimated anew
        model.learn(n_timesteps)
        checkpoints.append(save_checkpoint(model, tmp_path))
        credit.append([model.offline_buffer.weights.copy(), model.offline_buffer.advantages.copy()])
    for before, after in zip(*credit, strict=True):
        assert not np.array_equal(before, after)
    for checkpoint, (weights, advantages) in zip(checkpoints, credit, strict=True):
        loaded = load_checkpoint(checkpoint, pendulums(), device="cpu")
        np.testing.assert_array_equal(loaded.offline_buffer.weights, weights)
        np.testing.assert_array_equal(loaded.offline_buffer.advantages, advantages)


@pytest.mark.parametrize("return_only", [False, True])
def test_online_after_offline(small_gac, data, tmp_path, return_only):
    def make() -> GAC:
        return small_gac(pendulums(), return_only=return_only).learn_offline(data, 5)

    whole = make()
    whole.learn(260, ExactCheckpointCallback(50, tmp_path / "whole", patience=4))
    with pytest.raises(Killed):
        make().learn(260, KillAt(190, 50, tmp_path / "killed", patience=4))
    disturb()
    model = load_checkpoint(tmp_path / "killed", pendulums(), device="cpu")
    assert 100 < model.num_timesteps < 190
    callback = ExactCheckpointCallback(50, tmp_path / "killed", patience=4)
    model.learn(260 - model.num_timesteps, callback, reset_num_timesteps=False)
    assert_identical(whole, model)


def test_without_data_there_is_nothing_to_go_on_with(small_gac):
    with pytest.raises(ValueError, match="no data set"):
        small_gac(pendulums()).learn_offline(None, 1)


def test_episodes_cut_by_a_checkpoint_are_not_learnt_from(small_gac, tmp_path):
    model = small_gac(pendulums()).learn(16)  # one episode of seven steps
    assert list(model.replay_buffer.lengths) == [7]
    save_checkpoint(model, tmp_path)
    model.learn(14, reset_num_timesteps=False)
    assert list(model.replay_buffer.lengths) == [7, 7]
    assert model.replay_buffer.dones[:, 0].nonzero()[0].tolist() == [7]


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        (0, [6, 12, 18, 24, 30]),
        (3, [9, 18, 27, 30]),  # episodes of ten steps are cut after nine
        (100, [10, 20, 30]),
    ],
)
def test_a_checkpoint_waits_for_the_end_of_the_episodes(small_gac, tmp_path, monkeypatch, patience, expected):
    saved = []

    def save(model: GAC, *args) -> Path:
        saved.append(model.num_timesteps)
        return save_checkpoint(model, *args)

    monkeypatch.setattr("sb3_gac.checkpoint.save_checkpoint", save)
    small_gac(pendulums((10,))).learn(30, ExactCheckpointCallback(6, tmp_path, patience=patience))
    assert saved == expected


def test_an_interrupted_write_leaves_the_good_one(small_gac, tmp_path, monkeypatch):
    model = small_gac(pendulums()).learn(16)
    good = save_checkpoint(model, tmp_path, keep=1)
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    partial = tmp_path / f".checkpoint_2.{atomic._HOST}_{killed.pid}_{'0' * 32}.partial"
    partial.mkdir()
    (partial / "model.zip").write_bytes(b"half of it")
    assert latest_checkpoint(tmp_path) == good

    def fail(*args) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("sb3_gac.atomic._sync", fail)
        with pytest.raises(OSError, match="disk is full"):
            save_checkpoint(model, tmp_path, keep=1)
    assert list(tmp_path.iterdir()) == [good]
    assert load_checkpoint(tmp_path, pendulums(), device="cpu").num_timesteps == 16
    assert save_checkpoint(model, tmp_path, keep=1).name == "checkpoint_2"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_2"]


@pytest.mark.parametrize("name", ["model.zip", "replay_buffer.safetensors", "state.pkl", "manifest.json"])
def test_a_damaged_file_is_named(small_gac, tmp_path, name):
    checkpoint = save_checkpoint(small_gac(pendulums()), tmp_path)
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[:-10])
    with pytest.raises(ValueError, match=f"damaged: .*{name}"):
        load_checkpoint(checkpoint)
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match=f"incomplete: .*{name}"):
        load_checkpoint(tmp_path)


def test_what_cannot_be_loaded(small_gac, tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "checkpoint_1"):
        with pytest.raises(FileNotFoundError, match="no checkpoint"):
            load_checkpoint(path)
    save_checkpoint(small_gac(pendulums()), tmp_path)
    with pytest.raises(ValueError, match="with 2 environments, it cannot go on with 1"):
        load_checkpoint(tmp_path, pendulums((10,)))
    with pytest.raises(ValueError, match="without a VecNormalize"):
        load_checkpoint(tmp_path, pendulums(normalized=True))


@pytest.mark.parametrize("arguments", [{"save_freq": 0}, {"keep": 0}, {"patience": -1}])
def test_arguments_out_of_range(tmp_path, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        ExactCheckpointCallback(**({"save_freq": 1, "save_path": tmp_path} | arguments))


def test_the_manifest_lists_every_other_file(small_gac, tmp_path):
    checkpoint = save_checkpoint(small_gac(pendulums()), tmp_path)
    names = json.loads((checkpoint / "manifest.json").read_text())
    assert {*names, "manifest.json"} == {file.name for file in checkpoint.iterdir()}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_processes_resume():
    n_identical, hits = kill_and_resume(2, offline_steps=25, online_steps=50)
    assert n_identical == 2
    assert hits["before the first checkpoint"] + hits["offline"] + hits["online"] == 2
