from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
pytest.importorskip("yaml")

from benchmarks import peers
from benchmarks.envs import TASKS, Task
from benchmarks.evaluation import evaluate
from benchmarks.offline import Job, run_job
from benchmarks.peers import PEERS, PeerLearner, SequencePolicy, make_algorithm, make_buffer, visible_trajectories
from benchmarks.table import read_rows
from sb3_gac.data import OfflineDataset, Trajectory

PENDULUM = Task("short-pendulum", "Pendulum-v1", 12, -400.0, 0.0)
OBSERVATIONS, ACTIONS = spaces.Box(-8.0, 8.0, (3,)), spaces.Box(-2.0, 2.0, (1,))


@pytest.fixture
def d3rlpy() -> Any:
    return pytest.importorskip("d3rlpy", reason="an environment of its own: tox -e peers")


def make_trajectory(n_steps: int, total_return: float, seed: int = 0, terminated: bool = False) -> Trajectory:
    """A torque against the angular velocity; the return in equal parts."""
    observations = np.random.default_rng(seed).uniform(-1, 1, size=(n_steps, 3)).astype(np.float32)
    actions = -1.5 * observations[:, 2:]
    return Trajectory(observations, actions, np.full(n_steps, total_return / n_steps), terminated, not terminated)


def make_dataset(n_trajectories: int = 6, n_steps: int = 12) -> OfflineDataset:
    trajectories = [make_trajectory(n_steps, 10.0 * seed, seed) for seed in range(n_trajectories)]
    return OfflineDataset(trajectories, OBSERVATIONS, ACTIONS, "hand-made")


def make_learner(name: str, n_steps: int = 12, n_trajectories: int = 6, **overrides: Any) -> PeerLearner:
    env = make_vec_env(PENDULUM.make_env, 2)
    assert isinstance(env, DummyVecEnv)
    return PeerLearner(PEERS[name], overrides, make_dataset(n_trajectories, n_steps), env, n_steps, seed=0)


def test_step_rewards_are_left_as_they_are() -> None:
    trajectories = make_dataset().trajectories
    assert visible_trajectories(PEERS["iql"], trajectories) == trajectories


@pytest.mark.parametrize("name", ["dt-return", "iql-return", "cql-return"])
def test_returns_are_paid_on_the_last_transition_and_cuts_stay_cuts(name: str) -> None:
    trajectories = [make_trajectory(4, 8.0), make_trajectory(4, 6.0, terminated=True), make_trajectory(1, 3.0)]
    seen = visible_trajectories(PEERS[name], trajectories)
    assert [trajectory.rewards.tolist() for trajectory in seen] == [[0.0, 0.0, 8.0, 0.0], [0.0, 0.0, 0.0, 6.0], [3.0]]
    assert [trajectory.terminated for trajectory in seen] == [False, True, False]


def test_ten_percent_cloning_sees_the_best_trajectories() -> None:
    trajectories = [make_trajectory(10, float(seed), seed) for seed in range(10)]
    seen = visible_trajectories(PEERS["d3rlpy-bc10"], trajectories)
    assert [trajectory.total_return for trajectory in seen] == [9.0]
    assert len(visible_trajectories(PEERS["d3rlpy-bc"], trajectories)) == 10


def test_what_each_peer_is_told() -> None:
    assert PEERS["d3rlpy-bc"].information == "none"
    others = {name: peer.information for name, peer in PEERS.items() if name != "d3rlpy-bc"}
    told = {name for name, information in others.items() if information == "return"}
    assert told == {"d3rlpy-bc10", *(name for name in PEERS if name.endswith("-return"))}


def test_without_d3rlpy_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install --no-deps d3rlpy==2\.8\.1"):
        make_learner("iql")


def test_unknown_settings_and_spaces_that_are_no_vectors_are_refused(d3rlpy: Any) -> None:
    with pytest.raises(ValueError, match="unknown settings plan_dim of IQLConfig; known are n_updates, "):
        make_learner("iql", plan_dim=3)

    class Spaces:
        observation_space, action_space = OBSERVATIONS, spaces.Discrete(2)

    with pytest.raises(ValueError, match=r"vectors, not the action space Discrete\(2\)"):
        make_algorithm(PEERS["iql"], {}, [], Spaces(), 10, "cpu")  # type: ignore[arg-type]


def test_temporal_difference_learning_sees_every_return(d3rlpy: Any) -> None:
    trajectories = [make_trajectory(5, 10.0, 1), make_trajectory(3, 6.0, 2, terminated=True)]
    buffer = make_buffer(visible_trajectories(PEERS["iql-return"], trajectories))
    assert [episode.terminated for episode in buffer.episodes] == [False, True]
    # A cut trajectory has no observation to bootstrap its last step from
    assert buffer.transition_count == 4 + 3
    picker = d3rlpy.dataset.BasicTransitionPicker()
    rewards = [picker(episode, i).reward for episode in buffer.episodes for i in range(episode.transition_count)]
    np.testing.assert_allclose(np.ravel(rewards), [0, 0, 0, 10.0, 0, 0, 6.0])


def test_scales_are_those_of_the_data(d3rlpy: Any) -> None:
    dataset = make_dataset()
    observations = np.concatenate([np.asarray(trajectory.observations) for trajectory in dataset.trajectories])
    for name, multiplier in (("iql", 1000 / 50), ("iql-return", 100 / 50), ("dt", 1 / 50)):
        config = make_algorithm(PEERS[name], {}, dataset.trajectories, dataset, 12, "cpu").config
        assert config.reward_scaler.multiplier == pytest.approx(multiplier)
        np.testing.assert_allclose(config.observation_scaler.mean, observations.mean(axis=0))
        assert float(config.action_scaler.maximum[0]) == 2.0


@pytest.mark.parametrize("name", [*(name for name in PEERS if not name.endswith("-return")), "dt-return"])
def test_each_peer_makes_a_row(d3rlpy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(TASKS, PENDULUM.name, PENDULUM)
    monkeypatch.setattr("benchmarks.offline.load_dataset", lambda *_: make_dataset())
    job = Job(name, f"{PENDULUM.name}=data.hdf5", overrides={"n_updates": 4, "batch_size": 4})
    row = run_job(job, 2, tmp_path / "curves.csv", n_eval_episodes=2)
    assert -400 < row["mean_return"] < 0 and row["score"] == pytest.approx(100 * (row["mean_return"] + 400) / 400)
    assert row["n_updates"] == 4 and row["n_parameters"] > 0 and "d3rlpy" in row["versions"]
    assert row["information"] == PEERS[name].information
    assert [point["step"] for point in read_rows(tmp_path / "curves.csv")] == ["2", "4"]
    if name == "iql":  # evaluations change nothing, and so does the seed that is the same
        assert run_job(job, n_eval_episodes=2)["mean_return"] == row["mean_return"]


def test_cloning_learns_the_torque_it_is_shown(d3rlpy: Any) -> None:
    learner = make_learner("d3rlpy-bc", n_steps=30, n_trajectories=20, n_updates=100, learning_rate=5e-3)
    learner.learn(peers.CurveCallback("bc", lambda n: 0.0))
    observations = np.random.default_rng(9).uniform(-0.9, 0.9, size=(50, 3)).astype(np.float32)
    actions, _ = learner.policy.predict(observations)
    np.testing.assert_allclose(actions, -1.5 * observations[:, 2:], atol=0.25)


class Transcript:
    """In place of an algorithm: writes down what its actors are told."""

    def __init__(self) -> None:
        self.told: list[list[Any]] = []

    def as_stateful_wrapper(self, target_return: float) -> Any:
        told: list[Any] = [target_return]
        self.told.append(told)

        class Actor:
            def predict(self, observation: Any, reward: float) -> Any:
                told.append(reward)
                return np.array([0.5], dtype=np.float32)

            def reset(self) -> None:
                told.append("reset")

        return Actor()


class CountingEnv(gym.Env[Any, Any]):
    """Rewards 1, 2, 3, ...; an episode has three steps."""

    observation_space, action_space = OBSERVATIONS, ACTIONS
    n_steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.n_steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        return np.zeros(3, np.float32), float(self.n_steps), False, self.n_steps == 3, {}


@pytest.mark.parametrize("information", ["step", "return"])
@pytest.mark.parametrize("n_episodes", [2, 3])
def test_a_decision_transformer_is_told_its_rewards_unless_they_come_at_the_end(information: str, n_episodes: int) -> None:
    env = make_vec_env(CountingEnv, 2)
    assert isinstance(env, DummyVecEnv)
    transcript = Transcript()
    returns = evaluate(SequencePolicy(transcript, env, 6.0, information), env, n_episodes)
    np.testing.assert_array_equal(returns, [6.0] * n_episodes)
    episode = ["reset", 0.0, *((1.0, 2.0) if information == "step" else (0.0, 0.0))]
    # One that has played its episodes is not asked for actions
    assert transcript.told == [[6.0, *episode], [6.0, *episode * (n_episodes - 1)]]
