"""The policies that SAC trains for the data sets, and the trajectories that they make."""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from stable_baselines3.common.utils import set_random_seed

from benchmarks import sac_recipe
from benchmarks.datasets import SAC_TRAININGS
from benchmarks.envs import TASKS, Task
from benchmarks.sac_recipe import (
    CheckpointFolder,
    MediumRecipe,
    MediumReplayRecipe,
    SacTraining,
    keep_policy,
    load_policy,
    replay_episodes,
)

PENDULUM = Task("pendulum-medium", "Pendulum-v1", horizon=60, ref_min_score=-1500.0, ref_max_score=0.0)
# Passed by any two trajectories, so trained for 120 steps
SHORT_TRAINING = SacTraining(
    return_threshold=-1e6, n_returns=2, random_steps=50, net_arch=(8,), max_steps=1_000, checkpoint_steps=60
)


def assert_same_episodes(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for field in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_medium_replay_holds_everything_seen(tmp_path):
    episodes = list(MediumReplayRecipe(SHORT_TRAINING).collect(PENDULUM, 0, tmp_path))
    assert [len(episode) for episode in episodes] == [60, 60]
    for episode in episodes:
        assert episode.observations.shape == (61, 3)
        assert not episode.terminated
        # Env units: the pendulum's torque goes up to 2
        assert 1.0 < np.abs(episode.actions).max() <= 2.0
        env = PENDULUM.make_env()
        env.reset()
        angle = np.arctan2(episode.observations[0, 1], episode.observations[0, 0])
        env.unwrapped.state = np.array([angle, episode.observations[0, 2]])
        for step in range(60):
            observation, reward, _, truncated, _ = env.step(episode.actions[step])
            np.testing.assert_allclose(observation, episode.observations[step + 1], atol=1e-3)
            assert reward == pytest.approx(episode.rewards[step], abs=1e-2)
            assert truncated == (step == 59)


def test_a_policy_that_is_kept_makes_the_data_of_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(sac_recipe, "POLICIES", tmp_path / "policies")
    recipe = MediumRecipe(SHORT_TRAINING, n_steps=120)
    trained = list(recipe.collect(PENDULUM, 0, tmp_path))
    keep_policy(SHORT_TRAINING.run(PENDULUM, 0, tmp_path), PENDULUM, SHORT_TRAINING, 0)
    kept = list(recipe.collect(PENDULUM, 0, tmp_path / "elsewhere"))
    assert_same_episodes(kept, trained)
    assert not (tmp_path / "elsewhere").exists()  # nothing was trained
    assert load_policy(PENDULUM, SHORT_TRAINING, 1) is None
    assert load_policy(PENDULUM, SacTraining(return_threshold=-1e6), 0) is None


def test_the_hopper_that_comes_with_the_benchmarks_is_of_medium_skill():
    task = TASKS["hopper-medium"]
    episodes = list(MediumRecipe(SAC_TRAININGS["hopper"], n_steps=5_000).collect(task, 0, None))
    assert 1000 < np.mean([episode.rewards.sum() for episode in episodes]) < 1600


def test_training_stops_when_the_returns_pass(tmp_path, monkeypatch):
    # The means of two returns are made up: the sixth trajectory is the first to lift them over the threshold
    training = SacTraining(return_threshold=10.0, n_returns=2, random_steps=10_000, net_arch=(8,), max_steps=1_000)
    made_up = iter([0.0] * 5 + [25.0] * 10)

    def with_made_up_return(self, infos, dones=None):
        for info in infos:
            if "episode" in info:
                self.ep_info_buffer.append({"r": next(made_up), "l": 60})

    monkeypatch.setattr("stable_baselines3.SAC._update_info_buffer", with_made_up_return)
    assert len(list(replay_episodes(training.run(PENDULUM, 0, tmp_path)))) == 6


def test_training_that_fails(tmp_path):
    training = SacTraining(return_threshold=0.0, n_returns=2, random_steps=10_000, net_arch=(8,), max_steps=150)
    with pytest.raises(RuntimeError, match="did not pass a mean return of 0 within 150 steps"):
        training.run(PENDULUM, 0, tmp_path)


def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    training = SacTraining(
        return_threshold=-1e6, n_returns=4, random_steps=100, net_arch=(8,), max_steps=1_000, checkpoint_steps=100
    )
    save = CheckpointFolder.save

    def save_and_stop(self, model):
        save(self, model)
        raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointFolder, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        training.run(PENDULUM, 0, tmp_path)
    monkeypatch.undo()
    folder = tmp_path / "Pendulum-v1-seed0"
    assert [path.name for path in folder.iterdir()] == ["step_000000120"]
    before = list(replay_episodes(CheckpointFolder(folder, training).load(PENDULUM.make_env())))
    assert len(before) == 2

    model = training.run(PENDULUM, 0, tmp_path)
    after = list(replay_episodes(model))
    assert len(after) == 4
    assert_same_episodes(after[:2], before)
    assert not np.array_equal(after[2].observations[0], after[0].observations[0])
    # 120 steps before and 120 after it, and no update in the first 100; a stopped step is counted but not learnt from
    assert model._n_updates == pytest.approx(140, abs=2)
    assert [path.name for path in folder.iterdir()] == ["step_000000240"]


def test_finished_training_is_not_run_again(tmp_path, monkeypatch):
    first = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    monkeypatch.setattr("stable_baselines3.SAC.learn", lambda *args, **kwargs: pytest.fail("trained again"))
    again = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    assert_same_episodes(list(replay_episodes(first)), list(replay_episodes(again)))


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    with pytest.raises(ValueError, match="holds a training with other settings"):
        SacTraining(return_threshold=-1e6, n_returns=2, random_steps=50, net_arch=(8,)).run(PENDULUM, 0, tmp_path)


def test_medium_is_the_stochastic_policy(tmp_path):
    recipe = MediumRecipe(SHORT_TRAINING, n_steps=100)
    episodes = list(recipe.collect(PENDULUM, 0, tmp_path))
    assert [len(episode) for episode in episodes] == [60, 60]
    assert_same_episodes(episodes, list(recipe.collect(PENDULUM, 0, tmp_path)))
    model = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    set_random_seed(1)
    env = PENDULUM.make_env()
    observation, _ = env.reset(seed=1)
    np.testing.assert_array_equal(episodes[0].observations[0], observation)
    np.testing.assert_array_equal(episodes[0].actions[0], model.predict(observation)[0])
    assert not np.array_equal(episodes[0].actions[0], model.predict(observation, deterministic=True)[0])


def test_falls_are_terminations(tmp_path):
    training = SacTraining(return_threshold=-1.0, n_returns=3, random_steps=10_000, net_arch=(8,), max_steps=2_000)
    episodes = list(MediumReplayRecipe(training).collect(TASKS["hopper-medium-replay"], 0, tmp_path))
    assert len(episodes) == 3
    for episode in episodes:
        assert episode.terminated
        assert episode.observations.shape == (len(episode) + 1, 11)
        assert episode.observations.dtype == np.float64


def test_overflown_replay_buffer(tmp_path):
    model = SHORT_TRAINING.run(PENDULUM, 0, tmp_path)
    model.replay_buffer.full = True
    with pytest.raises(ValueError, match="overflowed"):
        next(replay_episodes(model))
