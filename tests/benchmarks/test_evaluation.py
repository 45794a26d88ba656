from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from benchmarks.evaluation import MAX_ENVS, CurveCallback, evaluate
from benchmarks.table import read_rows

MAX_LENGTH = 10


class RandomLengthEnv(gym.Env[np.ndarray, np.ndarray]):
    """Reward 1 per step for 1 to 10 steps: the return of an episode is its length."""

    observation_space = spaces.Box(0.0, 1000.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_left = int(self.np_random.integers(1, MAX_LENGTH + 1))
        return np.array([100.0 * self.n_left], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.n_left -= 1
        return np.array([100.0 * self.n_left], np.float32), 1.0, self.n_left == 0, False, {}


class RecordingModel:
    """Counts the episodes that each environment was said to start, and checks that it is given its state back."""

    def __init__(self) -> None:
        self.n_starts: np.ndarray | None = None
        self.age = 0

    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        assert deterministic
        assert episode_start is not None
        assert (state is None) == (self.age == 0)
        assert state is None or state[0] == self.age
        self.age += 1
        self.n_starts = episode_start + (0 if self.n_starts is None else self.n_starts)
        return np.zeros((len(observation), 1), np.float32), (self.age,)


def make_env(n_envs: int) -> DummyVecEnv:
    env = make_vec_env(RandomLengthEnv, min(n_envs, MAX_ENVS))
    assert isinstance(env, DummyVecEnv)
    return env


def play_one_by_one(n_episodes: int, seed: int) -> list[float]:
    """The same episodes as ``evaluate`` plays, without any vectorisation."""
    n_envs = min(n_episodes, 25)
    returns = []
    for i in range(n_envs):
        env = RandomLengthEnv()
        for episode in range((n_episodes + i) // n_envs):
            env.reset(seed=seed + i if episode == 0 else None)
            returns.append(float(env.n_left))
    return returns


@pytest.mark.parametrize("n_episodes", [1, 7, 25, 26, 60])
def test_the_episodes_are_those_of_the_environments_played_one_by_one(n_episodes: int) -> None:
    model: Any = RecordingModel()
    returns = evaluate(model, make_env(n_episodes), n_episodes, seed=3)
    assert sorted(returns.tolist()) == sorted(play_one_by_one(n_episodes, seed=3))
    # No plan is made for an environment that has played its episodes
    assert model.n_starts.sum() == n_episodes


def test_short_episodes_are_not_over_represented() -> None:
    model: Any = RecordingModel()
    returns = evaluate(model, make_env(25), 1000, seed=0)
    standard_error = np.std(np.arange(1, MAX_LENGTH + 1)) / np.sqrt(1000)
    assert abs(returns.mean() - 5.5) < 3 * standard_error


def test_a_vec_env_is_used_as_it_is_and_left_open() -> None:
    env = make_env(4)
    model: Any = RecordingModel()
    returns = evaluate(model, env, 6, seed=0)
    assert len(returns) == 6
    assert model.n_starts.tolist() == [1, 1, 2, 2]
    assert env.reset().shape == (4, 1)


def test_the_random_numbers_of_the_training_are_left_alone() -> None:
    model = PPO("MlpPolicy", RandomLengthEnv(), n_steps=8, batch_size=8, seed=0)
    th.manual_seed(1)
    before = th.get_rng_state()
    returns = evaluate(model, make_env(3), 3, seed=5)
    assert th.equal(th.get_rng_state(), before)
    assert evaluate(model, make_env(3), 3, seed=5).tolist() == returns.tolist()


def test_a_model_trained_on_normalised_observations_is_shown_such(monkeypatch: pytest.MonkeyPatch) -> None:
    env = VecNormalize(DummyVecEnv([RandomLengthEnv]))
    env.obs_rms.mean, env.obs_rms.var = np.array([500.0]), np.array([1e4])
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, seed=0)
    seen = []
    predict = model.predict
    monkeypatch.setattr(
        model, "predict", lambda observation, **kwargs: (seen.append(observation), predict(observation, **kwargs))[1]
    )
    evaluate(model, make_env(3), 3, seed=0)
    values = np.concatenate(seen).round(4).ravel()
    assert set(values.tolist()) <= {(100.0 * n - 500.0) / 100.0 for n in range(MAX_LENGTH + 1)}


def test_no_episode_is_no_evaluation() -> None:
    model: Any = RecordingModel()
    with pytest.raises(ValueError, match="n_episodes must be at least 1, got 0"):
        evaluate(model, make_env(1), 0, seed=0)


def test_a_curve_has_a_point_every_so_many_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, float]] = []
    means = iter([np.array([4.0, 6.0]), np.array([6.0])])
    callback = CurveCallback(
        "a job", lambda n: next(means), 10, tmp_path / "curves.csv", {"seed": "3"}, lambda *point: told.append(point)
    )
    PPO("MlpPolicy", RandomLengthEnv(), n_steps=8, batch_size=8, seed=0, device="cpu").learn(24, callback)
    assert told == [(10, 5.0), (20, 6.0)]
    rows = read_rows(tmp_path / "curves.csv")
    assert [(row["seed"], row["step"], row["mean_return"]) for row in rows] == [("3", "10", "5.0"), ("3", "20", "6.0")]
    assert 1.0 <= float(rows[1]["train_return"]) <= 10.0 and 0 < float(rows[1]["train_cpu_s"]) <= callback.cpu_seconds()
    assert "eval a job: 20 steps, eval 6.0" in capsys.readouterr().out
