from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, Trajectory
from sb3_gac.zoo import OfflinePhase

N_STEPS = 20
ACTION = 1.2
OBSERVATION_MEAN = 0.5


@pytest.fixture
def env(diary_env: Callable[..., gym.Env[Any, Any]]) -> gym.Env[Any, Any]:
    near = 0.1 + 1e-6  # what is seen is as in the data
    return diary_env(spaces.Box(OBSERVATION_MEAN - near, OBSERVATION_MEAN + near, (3,), np.float32), length=5)


@pytest.fixture
def data(env: gym.Env[Any, Any]) -> OfflineDataset:
    """Whatever is seen, the same thing is done."""
    rng = np.random.default_rng(0)
    trajectories = [
        Trajectory(
            rng.uniform(OBSERVATION_MEAN - 0.1, OBSERVATION_MEAN + 0.1, size=(N_STEPS, 3)).astype(np.float32),
            np.full((N_STEPS, 2), ACTION, np.float32),
            np.full(N_STEPS, float(i)),
            terminated=True,
            truncated=False,
        )
        for i in range(8)
    ]
    assert isinstance(env.observation_space, spaces.Box)
    return OfflineDataset(trajectories, env.observation_space, env.action_space, "the same action")


class WatchCallback(BaseCallback):
    """What there is at the first step of the online phase."""

    seen: dict[str, Any] | None = None

    def _on_step(self) -> bool:
        if self.seen is None:
            names = ("num_timesteps", "_total_timesteps", "_n_updates", "target_kl", "logger", "_current_progress_remaining")
            self.seen = {name: getattr(self.model, name) for name in names}
        return True


def test_it_learns_before_the_first_step(env: Any, data: OfflineDataset, small_gac: Callable[..., GAC]) -> None:
    model = small_gac(env, learning_rate=1e-2)
    watch = WatchCallback()
    model.learn(20, callback=[OfflinePhase(data, 150), watch])
    assert watch.seen is not None
    assert (watch.seen["num_timesteps"], watch.seen["_total_timesteps"]) == (1, 20)
    assert (watch.seen["_n_updates"], model._n_offline_updates) == (150, 150)
    assert watch.seen["_current_progress_remaining"] == 1.0
    assert model.num_timesteps == 20
    actions, _ = model.predict(np.full((4, 3), OBSERVATION_MEAN, np.float32), deterministic=True)
    np.testing.assert_allclose(actions, ACTION, atol=0.25)
    # The rollouts begin where the data set has led, not with random actions
    np.testing.assert_allclose(np.mean(env.actions), ACTION, atol=0.3)


def test_the_log_of_the_online_phase_is_as_without(env: Any, data: OfflineDataset, small_gac: Callable[..., GAC]) -> None:
    model = small_gac(env)
    watch = WatchCallback()
    model.learn(5, callback=[OfflinePhase(data, 2), watch])
    assert watch.seen is not None
    assert watch.seen["logger"] is model.logger
    assert len(model.ep_info_buffer or []) == 1


def test_a_resumed_model_only_gets_its_data_back(env: Any, data: OfflineDataset, small_gac: Callable[..., GAC]) -> None:
    model = small_gac(env, learning_starts=100)
    model.learn(3, callback=OfflinePhase(data, 4))
    assert (model._n_offline_updates, model.offline_buffer is not None) == (4, True)
    model.offline_buffer = None
    model.learn(3, callback=OfflinePhase(data, 4))
    assert (model._n_offline_updates, model.offline_buffer is not None) == (4, True)
    model.learn(3, callback=OfflinePhase(data, 6))  # one that was interrupted makes the rest
    assert model._n_offline_updates == 6


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ValueError])
def test_an_interrupted_phase_leaves_the_model_as_it_was(
    interrupt: type[BaseException], env: Any, data: OfflineDataset, small_gac: Callable[..., GAC]
) -> None:
    model = small_gac(env)
    model.learn(5)
    logger = model.logger

    def fail(*_: Any, **__: Any) -> None:
        raise interrupt

    model.train = fail  # type: ignore[method-assign]
    with pytest.raises(interrupt):
        model.learn(5, callback=OfflinePhase(data, 4), reset_num_timesteps=False)
    assert (model.num_timesteps, model._total_timesteps) == (5, 10)
    assert model.logger is not logger  # each learn makes its own


def test_statistics_of_vec_normalize_come_from_the_data(env: Any, data: OfflineDataset, small_gac: Callable[..., GAC]) -> None:
    normalizer = VecNormalize(DummyVecEnv([lambda: env]))
    model = small_gac(normalizer)
    normalizer.training = True
    statistics: list[Any] = []

    class Watch(BaseCallback):
        def _on_training_start(self) -> None:
            statistics.append((normalizer.obs_rms.mean.copy(), normalizer.obs_rms.count))

        def _on_step(self) -> bool:
            return True

    model.learn(5, callback=[OfflinePhase(data, 2), Watch()])
    ((mean, count),) = statistics
    observations = np.concatenate([trajectory.observations for trajectory in data.trajectories])
    assert count == pytest.approx(len(observations), abs=3)  # and the resets
    np.testing.assert_allclose(mean, observations.mean(axis=0), atol=0.02)


def test_bad_input_is_refused(data: OfflineDataset) -> None:
    with pytest.raises(ValueError, match="gradient_steps must not be negative, got -1"):
        OfflinePhase(data, -1)
    with pytest.raises(TypeError, match="OfflinePhase is for GAC, not for SAC"):
        SAC("MlpPolicy", "Pendulum-v1", learning_starts=100).learn(1, callback=OfflinePhase(data, 1))
