import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("matplotlib")
pytest.importorskip("mujoco")
pytest.importorskip("yaml")

from benchmarks import peer as peer_module
from benchmarks import peers
from benchmarks.envs import TASKS, Task
from benchmarks.evaluation import evaluate, make_eval_env
from benchmarks.options import Options
from benchmarks.peer import PEERS, LastStepVecEnv, SequencePolicy, make_algorithm, make_buffer, visible_trajectories
from benchmarks.peers import PeerRun, main
from sb3_gac.data import OfflineDataset, Trajectory

SHORT_PENDULUM = Task("short-pendulum", "Pendulum-v1", 12, -400.0, 0.0)
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


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A D4RL file of the hand-made trajectories."""
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TASKS, SHORT_PENDULUM.name, SHORT_PENDULUM)
    trajectories = make_dataset().trajectories
    ends = np.tile(np.arange(12) == 11, len(trajectories))
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        for name in ("observations", "actions", "rewards"):
            file[name] = np.concatenate([np.asarray(getattr(t, name), np.float32) for t in trajectories])
        file["terminals"], file["timeouts"] = np.zeros_like(ends), ends
    return str(tmp_path / "data.hdf5")


def test_step_rewards_are_left_as_they_are() -> None:
    trajectories = make_dataset().trajectories
    assert visible_trajectories(PEERS["iql"], trajectories) == trajectories


@pytest.mark.parametrize("name", ["dt-return", "iql-return", "cql-return"])
def test_returns_are_paid_at_the_end_which_is_final(name: str) -> None:
    (seen,) = visible_trajectories(PEERS[name], [make_trajectory(4, 8.0)])
    np.testing.assert_array_equal(seen.rewards, [0.0, 0.0, 0.0, 8.0])
    assert seen.terminated and not seen.truncated


def test_ten_percent_cloning_sees_the_best_trajectories() -> None:
    trajectories = [make_trajectory(10, float(seed), seed) for seed in range(10)]
    seen = visible_trajectories(PEERS["d3rlpy-bc10"], trajectories)
    assert [trajectory.total_return for trajectory in seen] == [9.0]
    assert len(visible_trajectories(PEERS["d3rlpy-bc"], trajectories)) == 10


def test_what_each_peer_knows() -> None:
    known = {name: peer.information for name, peer in PEERS.items()}
    assert {name for name, information in known.items() if information == "return"} == {
        *("d3rlpy-bc10", "dt-return", "iql-return", "cql-return")
    }
    assert known["d3rlpy-bc"] == "none"
    assert {"dt", "iql", "cql", "td3bc", "awac", "calql"} == {name for name in known if known[name] == "step"}


def test_without_d3rlpy_it_is_said_how_to_install_it(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install --no-deps d3rlpy==2\.8\.1"):
        PeerRun(Options(env=SHORT_PENDULUM.name, data=data, algo="iql"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algo": "gac"}, "no peer 'gac'"),
        ({"mode": "online"}, "trained offline, not online"),
        ({"target_return": 3.0}, "iql cannot be asked for a return"),
        ({"params": {"n_updates": 0}}, "n_updates must be positive, not 0"),
        ({"params": {"plan_dim": 3}}, "unknown settings plan_dim of IQLConfig; known are n_updates, "),
    ],
)
def test_bad_options_are_refused(d3rlpy: Any, data: str, changes: dict[str, Any], message: str) -> None:
    options = Options(env=SHORT_PENDULUM.name, data=data, algo="iql", eval_episodes=1)
    with pytest.raises(ValueError, match=message):
        PeerRun(replace(options, **changes))


def test_spaces_that_are_no_vectors_are_refused(d3rlpy: Any) -> None:
    class Spaces:
        observation_space, action_space = OBSERVATIONS, spaces.Discrete(2)

    with pytest.raises(ValueError, match=r"vectors, not the action space Discrete\(2\)"):
        make_algorithm(PEERS["iql"], {}, Spaces(), 10, "cpu:0")  # type: ignore[arg-type]


def test_the_buffer_holds_every_transition(d3rlpy: Any) -> None:
    buffer = make_buffer([make_trajectory(5, 10.0, 1), make_trajectory(3, 6.0, 2, terminated=True)])
    assert [episode.size() for episode in buffer.episodes] == [5, 3]
    assert [episode.terminated for episode in buffer.episodes] == [False, True]
    # A cut trajectory has no observation to bootstrap its last step from
    assert buffer.transition_count == 4 + 3
    np.testing.assert_allclose(buffer.episodes[1].rewards, np.full((3, 1), 2.0))


def test_scales_are_those_of_the_data(d3rlpy: Any) -> None:
    dataset = make_dataset()
    for name, multiplier in (("iql", 1000 / 50), ("iql-return", 100 / 50), ("dt", 1 / 50)):
        config = make_algorithm(PEERS[name], {}, dataset, 12, "cpu:0").config
        assert config.reward_scaler.multiplier == pytest.approx(multiplier)
        assert config.gamma == (1.0 if name == "iql-return" else 0.99)
        observations = np.concatenate([np.asarray(trajectory.observations) for trajectory in dataset.trajectories])
        np.testing.assert_allclose(config.observation_scaler.mean, observations.mean(axis=0))
        assert float(config.action_scaler.maximum[0]) == 2.0


@pytest.mark.parametrize("name", PEERS)
def test_each_peer_learns_and_is_evaluated(d3rlpy: Any, data: str, name: str) -> None:
    params = {"n_updates": 4, "batch_size": 4}
    options = Options(
        env=SHORT_PENDULUM.name,
        data=data,
        algo=name,
        params=params,
        eval_episodes=2,
        eval_freq=2,
        output=Path("run"),
        device="cpu",
    )
    run = PeerRun(replace(options, results=Path("all.csv")))
    (result,) = run.train()
    assert (result.task, result.data, result.algo, result.phase) == ("short-pendulum", "data.hdf5", name, "offline")
    assert result.n_updates == 4
    assert -400 < result.mean_return < 0
    assert result.score == pytest.approx(100 * (result.mean_return + 400) / 400)
    assert result.target_return == (pytest.approx(50.0) if name.startswith("dt") else None)
    with Path("all.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["d3rlpy"] == d3rlpy.__version__
    assert row["algo"] == name
    assert [point.timesteps for point in run.folder.points] == [2, 4]
    for left in ("config.yml", "evaluations.csv", "results.csv", "model.d3", "learning_curve.png"):
        assert (Path("run") / left).stat().st_size > 0


def test_the_same_seed_makes_the_same_result(d3rlpy: Any, data: str) -> None:
    returns = []
    for seed in (0, 0, 1):
        options = Options(env=SHORT_PENDULUM.name, data=data, algo="iql", seed=seed, params={"n_updates": 5, "batch_size": 4})
        # Evaluations on the way do not change what is learnt
        options = replace(options, eval_episodes=2, eval_freq=len(returns), output=Path("run"), device="cpu")
        returns.append(PeerRun(options).train()[0].mean_return)
    assert returns[0] == returns[1] != returns[2]


def test_cloning_learns_the_torque_it_is_shown(d3rlpy: Any) -> None:
    dataset = make_dataset(n_trajectories=20, n_steps=30)
    d3rlpy.seed(0)
    algorithm = make_algorithm(PEERS["d3rlpy-bc"], {"learning_rate": 5e-3}, dataset, 30, "cpu:0")
    factory = d3rlpy.logging.NoopAdapterFactory()
    buffer = make_buffer(dataset.trajectories)
    algorithm.fit(buffer, n_steps=100, n_steps_per_epoch=100, logger_adapter=factory, show_progress=False)
    observations = np.random.default_rng(9).uniform(-0.9, 0.9, size=(50, 3)).astype(np.float32)
    actions, _ = peers.ReactivePolicy(algorithm).predict(observations)
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
def test_a_decision_transformer_is_told_its_rewards_unless_they_come_at_the_end(information: str) -> None:
    env = LastStepVecEnv(make_eval_env(CountingEnv, 2))
    transcript = Transcript()
    returns = evaluate(SequencePolicy(transcript, env, 6.0, information), env, 2, seed=0)
    np.testing.assert_array_equal(returns, [6.0, 6.0])
    episode = [6.0, "reset", 0.0, *((1.0, 2.0) if information == "step" else (0.0, 0.0))]
    assert transcript.told == [episode, episode]


def test_environments_that_have_played_their_episodes_are_not_asked_about() -> None:
    env = LastStepVecEnv(make_eval_env(CountingEnv, 2))
    transcript = Transcript()
    evaluate(SequencePolicy(transcript, env, 6.0, "return"), env, 3, seed=0)
    assert [told.count("reset") for told in transcript.told] == [1, 2]
    assert [len(told) for told in transcript.told] == [1 + 4, 1 + 4 + 4]


def test_the_command_names_what_is_wrong(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("d3rlpy", reason="an environment of its own: tox -e peers")
    with pytest.raises(SystemExit, match="2"):
        main(["--algo", "iql", "--env", SHORT_PENDULUM.name, "--data", data, "-params", "n_updates"])
    assert "key:value" in capsys.readouterr().err
    main(
        ["--algo", "d3rlpy-bc", "--env", SHORT_PENDULUM.name, "--data", data, "-params", "n_updates:2", "--eval-episodes", "1"]
    )
    assert "| short-pendulum | d3rlpy-bc | offline |" in capsys.readouterr().out
