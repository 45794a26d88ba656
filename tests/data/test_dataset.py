"""One door, whatever stands before it."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from sb3_gac.data import OfflineDataset, Trajectory, TrajectoryReplayBuffer, load_dataset

OBSERVATION_SPACE, ACTION_SPACE = spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1.0, 1.0, (1,))
REWARDS = np.arange(10.0) / 3


def trajectories() -> list[Trajectory]:
    """Two trajectories of five steps."""
    observations, actions = np.arange(20, dtype=np.float32).reshape(10, 2), np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
    return [
        Trajectory(observations[:5], actions[:5], REWARDS[:5], True, False),
        Trajectory(observations[5:], actions[5:], REWARDS[5:], False, True),
    ]


def flat(name):
    return np.concatenate([getattr(trajectory, name) for trajectory in trajectories()])


def d4rl_file(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "made.hdf5", "w") as file:
        for name in ("observations", "actions", "rewards"):
            file[name] = flat(name)
        file["terminals"], file["timeouts"] = np.arange(10) == 4, np.arange(10) == 9
    return tmp_path / "made.hdf5"


def minari_dataset(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = []
    for trajectory in trajectories():
        episodes.append(
            EpisodeBuffer(
                observations=np.concatenate([trajectory.observations, np.zeros((1, 2), np.float32)]),
                actions=trajectory.actions,
                rewards=trajectory.rewards,
                terminations=[False] * 4 + [trajectory.terminated],
                truncations=[False] * 4 + [trajectory.truncated],
            )
        )
    return minari.create_dataset_from_buffers(
        "made/up-v0", episodes, observation_space=OBSERVATION_SPACE, action_space=ACTION_SPACE
    )


def minari_id(tmp_path, monkeypatch):
    return minari_dataset(tmp_path, monkeypatch).id


def minari_path(tmp_path, monkeypatch):
    minari_dataset(tmp_path, monkeypatch)
    return str(tmp_path / "made/up-v0")


def trajectory_list(tmp_path, monkeypatch):
    return trajectories()


def offline_dataset(tmp_path, monkeypatch):
    return load_dataset(trajectories())


def trajectory_replay_buffer(tmp_path, monkeypatch):
    buffer = TrajectoryReplayBuffer(100, OBSERVATION_SPACE, ACTION_SPACE)
    for trajectory in trajectories():
        buffer.add_trajectory(trajectory)
    return buffer


def replay_buffer(tmp_path, monkeypatch):
    buffer = ReplayBuffer(100, OBSERVATION_SPACE, ACTION_SPACE)
    observations = flat("observations")
    for step in range(10):
        infos = [{"TimeLimit.truncated": step == 9}]
        next_obs = observations[min(step + 1, 9)][None]
        reward, done = REWARDS[step : step + 1], np.array([step in (4, 9)])
        buffer.add(observations[step][None], next_obs, flat("actions")[step], reward, done, infos)
    return buffer


def arrays(tmp_path, monkeypatch):
    ends = {"terminals": np.arange(10) == 4, "timeouts": np.arange(10) == 9}
    return {name: flat(name) for name in ("observations", "actions", "rewards")} | ends


SOURCES = [
    d4rl_file,
    arrays,
    minari_dataset,
    minari_id,
    minari_path,
    trajectory_list,
    offline_dataset,
    trajectory_replay_buffer,
    replay_buffer,
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_same_data_from_every_source(source, tmp_path, monkeypatch):
    data = source(tmp_path, monkeypatch)
    dataset = load_dataset(data)
    assert isinstance(dataset, OfflineDataset)
    assert dataset.observation_space == OBSERVATION_SPACE and dataset.action_space == ACTION_SPACE
    assert dataset.name
    assert len(dataset.trajectories) == 2
    for found, expected in zip(dataset.trajectories, trajectories(), strict=True):
        np.testing.assert_array_equal(found.observations, expected.observations)
        np.testing.assert_allclose(found.actions, expected.actions, atol=1e-7)
        np.testing.assert_allclose(found.rewards, expected.rewards, rtol=1e-7)
        assert (found.terminated, found.truncated) == (expected.terminated, expected.truncated)

    for found, expected in zip([found.return_only() for found in dataset.trajectories], trajectories(), strict=True):
        assert not found.rewards[:-1].any()
        assert found.total_return == pytest.approx(expected.total_return)

    # The spaces of the env to train for are checked, and kept
    env_spaces = spaces.Box(-np.inf, np.inf, (2,), np.float64), spaces.Box(-3.0, 3.0, (1,))
    dataset = load_dataset(data, *env_spaces)
    assert (dataset.observation_space, dataset.action_space) == env_spaces
    with pytest.raises(ValueError, match="trajectory 0: actions at step 0 are out of bounds"):
        load_dataset(data, action_space=spaces.Box(-0.5, 0.5, (1,)))
    with pytest.raises(ValueError, match="trajectory 0: observations of shape"):
        load_dataset(data, observation_space=gym.make("CartPole-v1").observation_space)


def test_images_of_an_env_that_sb3_transposes():
    images = np.random.default_rng(0).integers(0, 255, (5, 40, 36, 3), dtype=np.uint8)
    data = [Trajectory(images, np.zeros((5, 1)), np.zeros(5), True, False)]
    assert load_dataset(data).observation_space == spaces.Box(0, 255, (40, 36, 3), np.uint8)
    dataset = load_dataset(data, observation_space=spaces.Box(0, 255, (3, 40, 36), np.uint8))
    np.testing.assert_array_equal(dataset.trajectories[0].observations, images.transpose(0, 3, 1, 2))


def test_trajectories_that_differ_are_refused():
    odd = Trajectory(np.zeros((5, 3)), np.zeros((5, 1)), np.zeros(5), True, False)
    with pytest.raises(ValueError, match=r"list of trajectories: trajectory 2: observations of shape \(3,\)"):
        load_dataset([*trajectories(), odd])


def test_the_largest_action_may_be_in_any_trajectory():
    few = [Trajectory(np.zeros((3, 2)), np.array(actions), np.zeros(3), True, False) for actions in ([0, 1, 0], [2, 1, 0])]
    assert load_dataset(few).action_space == spaces.Discrete(3)


def test_nothing_to_load(tmp_path):
    with pytest.raises(ValueError, match="empty list"):
        load_dataset([])
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_dataset(str(tmp_path / "nothing.hdf5"))
    for data in (None, 3, [1, 2], gym.make("CartPole-v1")):
        with pytest.raises(TypeError, match="expected a path"):
            load_dataset(data)
