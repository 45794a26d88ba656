"""The buffer against a slow model of it, and its promises one by one."""

import pickle
import sys
from collections import Counter
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac.data import Trajectory, TrajectoryReplayBuffer

# An observation tells whose it is: (serial number of the trajectory, step)
OBSERVATION_SPACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTION_SPACE = spaces.Box(-2.0, 2.0, (1,), np.float32)


@dataclass
class SlowBuffer:
    """What the buffer must hold, said with lists: per env, trajectories of (serial, step, reward), each with its start."""

    buffer_size: int
    n_envs: int
    n_rows: int = 0
    n_serials: int = 0
    trajectories: list[dict] = field(default_factory=list)

    def open_trajectory(self, env: int) -> dict | None:
        return next((t for t in self.trajectories if t["env"] == env and not t["closed"]), None)

    def next_step(self, env: int) -> tuple[int, int]:
        """Serial number and step of the transition that comes next, starting a trajectory if none is open."""
        if (current := self.open_trajectory(env)) is None:
            current = {"env": env, "start": self.n_rows, "serial": self.n_serials, "steps": [], "closed": False}
            self.n_serials += 1
            self.trajectories.append(current)
        return current["serial"], len(current["steps"])

    def add(self, rewards, dones, truncated) -> None:
        self.trajectories = [t for t in self.trajectories if t["start"] > self.n_rows - self.buffer_size]
        for env in range(self.n_envs):
            self.next_step(env)
            current = self.open_trajectory(env)
            current["steps"].append(float(rewards[env]))
            current["closed"] = bool(dones[env]) or len(current["steps"]) == self.buffer_size
            current["terminated"] = bool(dones[env] and not truncated[env])
        self.n_rows += 1

    def close(self) -> None:
        for trajectory in self.trajectories:
            trajectory["closed"] = True

    def closed(self) -> dict[int, list[float]]:
        return {t["serial"]: t["steps"] for t in self.trajectories if t["closed"]}


def make_buffer(buffer_size: int, n_envs: int = 1, **kwargs) -> TrajectoryReplayBuffer:
    return TrajectoryReplayBuffer(buffer_size, OBSERVATION_SPACE, ACTION_SPACE, "cpu", n_envs=n_envs, **kwargs)


def step_both(buffer: TrajectoryReplayBuffer, slow: SlowBuffer, rewards, dones, truncated=None) -> None:
    truncated = [False] * slow.n_envs if truncated is None else truncated
    obs = np.array([slow.next_step(env) for env in range(slow.n_envs)], dtype=np.float32)
    actions = np.tanh(obs[:, :1] / 10)
    infos = [{"TimeLimit.truncated": done and cut} for done, cut in zip(dones, truncated, strict=True)]
    buffer.add(obs, obs + 1, actions, np.asarray(rewards, dtype=np.float32), np.asarray(dones), infos)
    slow.add(rewards, dones, truncated)


def check_steps(buffer: TrajectoryReplayBuffer, slow: SlowBuffer) -> None:
    """The table of all steps that are drawn from: those of closed trajectories, or else of the open ones so far."""
    known = [t for t in slow.trajectories if t["closed"]] or slow.trajectories
    table = buffer.steps()
    assert table.lengths.tolist() == [len(t["steps"]) for t in known]
    assert table.returns.tolist() == [sum(t["steps"]) for t in known]
    assert table.is_terminated.tolist() == [t["closed"] and t["terminated"] for t in known]
    expected = [[t["serial"], step] for t in known for step in range(len(t["steps"]))]
    assert buffer.observations_at(table.indices).tolist() == expected
    assert buffer.rewards.reshape(-1)[table.indices].tolist() == [reward for t in known for reward in t["steps"]]


def contents(buffer: TrajectoryReplayBuffer) -> dict[int, list[float]]:
    """Rewards by serial number of the closed trajectories, each checked to be whole."""
    found = {}
    for trajectory in buffer.trajectories():
        serials, steps = trajectory.observations.T
        assert (serials == serials[0]).all(), "a trajectory holds steps of another one"
        np.testing.assert_array_equal(steps, np.arange(len(trajectory)))
        np.testing.assert_allclose(trajectory.actions[:, 0], 2 * np.tanh(serials / 10), atol=1e-6)
        found[int(serials[0])] = trajectory.rewards.tolist()
    return found


def fill(buffer: TrajectoryReplayBuffer, lengths, returns=None) -> None:
    """Trajectory i has lengths[i] steps, and its return (i by default) at the last one."""
    for serial, length in enumerate(lengths):
        observations = np.stack([np.full(length, serial), np.arange(length)], axis=1).astype(np.float32)
        rewards = np.zeros(length)
        rewards[-1] = serial if returns is None else returns[serial]
        buffer.add_trajectory(Trajectory(observations, np.zeros((length, 1)), rewards, False, True))


reward_done_and_truncated = st.tuples(st.integers(-8, 8), st.sampled_from([False, False, False, True]), st.booleans())


@settings(max_examples=60, deadline=None)
@given(n_envs=st.integers(1, 3), buffer_size=st.integers(1, 25), data=st.data())
def test_same_as_slow_buffer(n_envs, buffer_size, data):
    buffer, slow = make_buffer(buffer_size, n_envs), SlowBuffer(max(buffer_size // n_envs, 1), n_envs)
    for _ in range(data.draw(st.integers(1, 60))):
        drawn = data.draw(st.lists(reward_done_and_truncated, min_size=n_envs, max_size=n_envs))
        step_both(buffer, slow, *zip(*drawn, strict=True))
        event = data.draw(st.sampled_from(["none"] * 8 + ["reset", "pickle"]))
        if event == "reset":
            buffer.close_open_trajectories()
            slow.close()
        elif event == "pickle":
            buffer = pickle.loads(pickle.dumps(buffer))
        expected = slow.closed()
        assert contents(buffer) == expected
        assert buffer.n_trajectories == len(expected)
        assert buffer.n_transitions == sum(map(len, expected.values()))
        assert Counter(buffer.returns.tolist()) == Counter(float(sum(steps)) for steps in expected.values())
        assert buffer.size() == min(slow.n_rows, slow.buffer_size)
        # Closed ones, or else the prefixes of the open ones
        known = expected or {t["serial"]: t["steps"] for t in slow.trajectories}
        check_steps(buffer, slow)
        batch = buffer.sample(8, 5)
        for i, serial in enumerate(batch.first_observations[:, 0].int().tolist()):
            assert batch.first_observations[i, 1] == 0
            assert batch.lengths[i] == len(known[serial])
            assert batch.returns[i] == sum(known[serial])
            assert (batch.observations[i, :, 0] == serial).all()
            assert (batch.observations[i, :, 1] < len(known[serial])).all()


@settings(max_examples=40, deadline=None)
@given(
    capacity=st.integers(4, 60),
    n_envs=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    seed=st.integers(0, 2**16),
    p_done=st.sampled_from([0.05, 0.2, 0.5]),
)
@pytest.mark.filterwarnings("ignore:.*do not fit a buffer")
def test_change_of_env_count_tears_nothing(capacity, n_envs, seed, p_done):
    rng = np.random.default_rng(seed)
    buffer, serial = make_buffer(capacity, n_envs[0]), 0
    for n in n_envs:
        before = contents(buffer)
        buffer.set_n_envs(n)
        after = contents(buffer)
        assert buffer.observations.shape == (max(capacity // n, 1), n, 2)
        assert after.items() <= before.items()
        lengths = [len(rewards) for rewards in before.values()]
        if max(lengths, default=0) * n + sum(lengths) <= capacity - n:
            assert after == before
        current = [(serial + env, 0) for env in range(n)]
        serial += n
        for _ in range(rng.integers(0, 30)):
            obs = np.array(current, dtype=np.float32)
            dones = rng.random(n) < p_done
            buffer.add(obs, obs, np.tanh(obs[:, :1] / 10), np.ones(n), dones, [{}] * n)
            for env in range(n):
                full = current[env][1] + 1 == buffer.buffer_size
                current[env] = (serial, 0) if dones[env] or full else (current[env][0], current[env][1] + 1)
                serial += int(dones[env] or full)
            contents(buffer)


def test_change_of_env_count_keeps_everything_that_fits():
    buffer = make_buffer(40)
    fill(buffer, [10, 5, 5, 10, 7, 3])
    buffer.set_n_envs(2)
    assert buffer.full and buffer.buffer_size == 20
    assert sorted(buffer.lengths) == [3, 5, 5, 7, 10, 10]
    buffer.set_n_envs(4)
    assert sorted(buffer.lengths) == [3, 5, 5, 7, 10, 10]
    with pytest.warns(UserWarning, match="2 of 6 trajectories do not fit a buffer of 5 envs"):
        buffer.set_n_envs(5)
    assert sorted(buffer.lengths) == [3, 5, 5, 7]


def test_too_small_columns_lose_the_oldest():
    buffer = make_buffer(13)
    fill(buffer, [4, 4, 4])
    with pytest.warns(UserWarning, match="1 of 3"):
        buffer.set_n_envs(2)
    assert sorted(contents_serials(buffer)) == [1, 2]


def contents_serials(buffer: TrajectoryReplayBuffer) -> list[int]:
    return [int(trajectory.observations[0, 0]) for trajectory in buffer.trajectories()]


def test_returns_are_summed_in_float64():
    buffer, rewards = make_buffer(10_000), np.random.default_rng(0).normal(1e4, 1.0, 3000).astype(np.float32)
    for step, reward in enumerate(rewards):
        obs = np.array([[0, step]], dtype=np.float32)
        buffer.add(obs, obs, np.zeros((1, 1)), reward[None], np.array([step == 2999]), [{}])
    assert buffer.returns[0] == pytest.approx(rewards.astype(np.float64).sum(), rel=1e-14)


@pytest.mark.parametrize(("time_limit", "handle"), [(True, True), (False, True), (True, False)])
def test_truncated_or_terminated(time_limit, handle):
    buffer, obs = make_buffer(10, handle_timeout_termination=handle), np.zeros((1, 2))
    for done in (False, True):
        buffer.add(obs, obs, np.zeros((1, 1)), np.ones(1), np.array([done]), [{"TimeLimit.truncated": done and time_limit}])
    (trajectory,) = buffer.trajectories()
    assert trajectory.truncated == (time_limit and handle)
    assert trajectory.terminated != trajectory.truncated


def test_a_reset_cuts_as_truncated():
    buffer, obs = make_buffer(10), np.zeros((1, 2))
    for _ in range(3):
        buffer.add(obs, obs, np.zeros((1, 1)), np.ones(1), np.zeros(1), [{}])
    assert buffer.n_trajectories == 0
    buffer.close_open_trajectories()
    buffer.close_open_trajectories()
    (trajectory,) = buffer.trajectories()
    assert (len(trajectory), trajectory.truncated, trajectory.total_return) == (3, True, 3.0)
    assert buffer.dones[:, 0].tolist() == buffer.timeouts[:, 0].tolist() == [0, 0, 1] + 7 * [0]


def test_endless_episode_is_cut_at_its_column():
    buffer, slow = make_buffer(8, n_envs=2), SlowBuffer(4, 2)
    for _ in range(4):
        step_both(buffer, slow, [1, 2], [False, False])
    assert sorted(buffer.returns) == [4, 8]
    assert all(trajectory.truncated for trajectory in buffer.trajectories())
    step_both(buffer, slow, [1, 2], [False, False])
    # The segments have lost their first step: only what is open now can be seen
    assert buffer.n_trajectories == 0
    assert buffer.sample(4, 2).lengths.tolist() == [1, 1, 1, 1]


def test_whole_trajectories_wrap_around():
    buffer = make_buffer(10)
    fill(buffer, [4, 4, 4])
    assert contents_serials(buffer) == [1, 2]
    buffer.add(np.array([[9, 0]]), np.zeros((1, 2)), np.zeros((1, 1)), np.ones(1), np.zeros(1), [{}])
    fill(buffer, [2])
    assert contents_serials(buffer) == [2, 9, 0]
    with pytest.raises(ValueError, match="11 steps does not fit a buffer of 10"):
        fill(buffer, [11])
    with pytest.raises(ValueError, match=r"set_n_envs\(1\)"):
        fill(make_buffer(10, n_envs=2), [1])


def test_empty_buffer():
    buffer = make_buffer(10)
    for read in (lambda: buffer.sample(4), buffer.steps):
        with pytest.raises(RuntimeError, match="Unable to sample"):
            read()
    assert (buffer.n_trajectories, buffer.n_transitions, buffer.size()) == (0, 0, 0)
    assert buffer.returns.shape == buffer.lengths.shape == (0,)
    buffer.close_open_trajectories()
    assert buffer.trajectories() == []
    buffer.set_n_envs(3)
    assert buffer.observations.shape == (3, 3, 2)


def test_memory_comes_with_the_first_transition():
    # A hundred terabytes
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 64, 64), np.uint8), "speed": spaces.Box(-1, 1, (2,))})
    buffer = TrajectoryReplayBuffer(10**10, space, ACTION_SPACE)
    assert buffer.observations["image"].shape == (10**10, 1, 3, 64, 64)
    assert buffer.dones.shape == (10**10, 1)
    assert len(pickle.dumps(buffer)) < 100_000
    assert pickle.loads(pickle.dumps(buffer)).observations["image"].dtype == np.uint8


def test_memory_is_that_of_the_arrays():
    buffer = make_buffer(100_000)
    fill(buffer, [100] * 900)
    raw = 100_000 * 4 * (2 + 1 + 1 + 1 + 1 + 1)
    arrays = [buffer.observations, buffer.actions, buffer.rewards, buffer.weights, buffer.dones, buffer.timeouts]
    assert sum(array.nbytes for array in arrays) == raw
    assert sys.getsizeof(buffer._table._records) < 0.05 * raw
    assert not hasattr(buffer, "next_observations")


def test_pickle_holds_the_rows_in_use():
    buffer = make_buffer(1_000_000)
    fill(buffer, [50, 50])
    data = pickle.dumps(buffer)
    assert len(data) < 100 * 6 * 4 + 10_000
    loaded = pickle.loads(data)
    for name in ("observations", "actions", "rewards", "weights", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(buffer, name), getattr(loaded, name))
    fill(loaded, [3])
    assert contents_serials(loaded) == [0, 1, 0]
    assert contents_serials(buffer) == [0, 1]


def test_extend_as_sb3_does():
    buffer, slow = make_buffer(30), SlowBuffer(30, 1)
    for step in range(20):
        step_both(buffer, slow, [step], [step % 7 == 6])
    other = make_buffer(30)
    infos = [[{"TimeLimit.truncated": truncated}] for truncated in buffer.timeouts]
    other.extend(buffer.observations, buffer.observations, buffer.actions, buffer.rewards, buffer.dones, infos)
    assert contents(buffer) == slow.closed()
    assert other.returns[:2].tolist() == buffer.returns.tolist()


def test_reset_forgets():
    buffer = make_buffer(10)
    fill(buffer, [4])
    buffer.reset()
    assert (buffer.size(), buffer.n_trajectories) == (0, 0)
    fill(buffer, [2])
    assert contents_serials(buffer) == [0]


def test_draw_by_length(monkeypatch):
    buffer = make_buffer(100)
    fill(buffer, [10, 20, 70])
    # Numbers spread evenly over [0, 1): what they are for each step, they are for all
    monkeypatch.setattr(np.random, "rand", lambda *shape: (np.arange(100).reshape(shape) + 0.5) / 100)
    assert buffer.sample(100, 1).first_observations[:, 0].int().bincount().tolist() == [10, 20, 70]


def test_steps_are_uniform():
    np.random.seed(0)
    buffer = make_buffer(100)
    fill(buffer, [5, 50])
    batch = buffer.sample(2000, 20)
    steps = batch.observations[batch.first_observations[:, 0] == 0][..., 1].flatten().numpy().astype(int)
    np.testing.assert_allclose(np.bincount(steps) / len(steps), np.full(5, 0.2), atol=0.01)


def test_weights_reach_the_batches():
    buffer = make_buffer(20)
    fill(buffer, [9, 4, 6])
    assert (buffer.sample(50, 3).weights == 1).all()
    table = buffer.steps()
    serials, steps = buffer.observations_at(table.indices).T.numpy()
    buffer.set_credit(table.indices, 0.1 + serials + steps / 10)
    fill(buffer, [5])  # in place of the first trajectory; new steps weigh 1
    for held in (buffer, pickle.loads(pickle.dumps(buffer))):
        batch = held.sample(200, 3)
        serials, steps = batch.observations.unbind(-1)
        assert set(serials.unique().tolist()) == {0, 1, 2}
        th.testing.assert_close(batch.weights, th.where(serials == 0, 1.0, 0.1 + serials + steps / 10))


def test_segments_start_at_every_step_whose_advantage_is_known():
    np.random.seed(0)
    buffer = make_buffer(20)
    fill(buffer, [9, 4])
    table = buffer.steps()
    serials, steps = buffer.observations_at(table.indices).T.numpy()
    with pytest.raises(RuntimeError, match="set_credit"):
        buffer.sample(5, 3, plan_horizon=3)
    buffer.set_credit(table.indices, np.ones(13), 10 * serials + steps)
    fill(buffer, [3])  # not known yet
    batch = buffer.sample(2000, 40, plan_horizon=3)
    serials, starts = batch.first_observations.unbind(-1)
    assert set(zip(serials.int().tolist(), starts.int().tolist(), strict=True)) == {
        *((0, step) for step in range(9)),
        *((1, step) for step in range(4)),
    }
    th.testing.assert_close(batch.advantages, 10 * serials + starts)
    th.testing.assert_close(batch.lengths.float(), (th.where(serials == 0, 9.0, 4.0) - starts).clamp(max=3))
    th.testing.assert_close(batch.observations[..., 1], starts.unsqueeze(1) + batch.ages)
    assert (batch.ages.amax(dim=1) == batch.lengths - 1).all() and (batch.ages.amin(dim=1) == 0).all()


def test_a_small_batch_of_segments_when_most_of_them_are_new():
    buffer = make_buffer(200)
    fill(buffer, [2])
    assert not buffer.knows_advantages
    buffer.set_credit(buffer.steps().indices, np.ones(2), np.ones(2))
    fill(buffer, [150])
    assert buffer.knows_advantages
    for _ in range(5):
        assert buffer.sample(1, 3, plan_horizon=3).advantages.tolist() == [1.0]


def test_what_changes_is_seen():
    """Lengths are summed up between calls, and must follow each change of the table."""
    np.random.seed(0)
    buffer, obs = make_buffer(10), np.array([[7, 0]], dtype=np.float32)

    def drawn() -> set[int]:
        return set(buffer.sample(200, 1).first_observations[:, 0].int().tolist())

    fill(buffer, [3, 3])
    assert drawn() == {0, 1}
    buffer.add(obs, obs, np.zeros((1, 1)), np.full(1, 5.0), np.zeros(1), [{}])
    assert drawn() == {0, 1}
    buffer.close_open_trajectories()
    assert drawn() == {0, 1, 7}
    fill(buffer, [9])
    assert drawn() == {0, 7}
    fill(buffer, [10])
    assert drawn() == {0}


def test_open_prefixes_are_followed():
    buffer, obs = make_buffer(10), np.zeros((1, 2))
    for step in range(1, 4):
        buffer.add(obs, obs, np.zeros((1, 1)), np.ones(1), np.zeros(1), [{}])
        batch = buffer.sample(2, 3)
        assert batch.lengths.tolist() == batch.returns.tolist() == [step, step]


def test_vec_normalize_normalises_observations_only():
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    normalize = VecNormalize(env)
    normalize.obs_rms.mean, normalize.obs_rms.var = np.arange(4.0), np.full(4, 4.0)
    buffer = TrajectoryReplayBuffer(10, env.observation_space, env.action_space)
    buffer.add(np.full((1, 4), 5.0), np.zeros((1, 4)), np.ones((1, 1)), np.full(1, 3.0), np.ones(1), [{}])
    batch = buffer.sample(2, 3, normalize)
    assert th.allclose(batch.observations, th.tensor([2.5, 2.0, 1.5, 1.0]).expand(2, 3, 4))
    assert th.allclose(batch.first_observations, th.tensor([2.5, 2.0, 1.5, 1.0]).expand(2, 4))
    assert batch.returns.tolist() == [3, 3]
    assert buffer.sample(2, 3).observations.unique().tolist() == [5]


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Box(-1, 1, (3,), np.float64), th.float64),
        (spaces.Box(0, 255, (3, 36, 36), np.uint8), th.uint8),
        (spaces.Discrete(5), th.int64),
        (spaces.MultiDiscrete([3, 4]), th.int64),
        (spaces.MultiBinary(4), th.int8),
        (spaces.Dict({"a": spaces.Box(0, 255, (3, 36, 36), np.uint8), "b": spaces.Discrete(3)}), None),
    ],
)
@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Box(-2, 5, (2, 2), np.float64),
        spaces.Discrete(4),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary(3),
    ],
)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_spaces(space, dtype, action_space, n_envs):
    """As SB3 adds them: what comes out is what went in, in the dtype of the space."""
    buffer = TrajectoryReplayBuffer(20, space, action_space, "cpu", n_envs=n_envs)
    space.seed(0)
    vec_obs = [[space.sample() for _ in range(n_envs)] for _ in range(8)]
    if isinstance(space, spaces.Dict):
        vec_obs = [{key: np.stack([obs[key] for obs in row]) for key in space.spaces} for row in vec_obs]
    else:
        vec_obs = [np.stack(row) for row in vec_obs]
    for step, obs in enumerate(vec_obs):
        action = np.stack([action_space.sample() for _ in range(n_envs)])
        if isinstance(action_space, spaces.Box):
            action = np.full_like(action, 1.0)
        buffer.add(obs, obs, action, np.ones(n_envs), np.full(n_envs, step == 7), [{}] * n_envs)
    batch = buffer.sample(6, 5)
    assert batch.actions.dtype == batch.returns.dtype == th.float32
    assert batch.actions.shape == (6, 5, buffer.action_dim)
    assert batch.lengths.dtype == th.int64
    if isinstance(space, spaces.Dict):
        assert batch.observations["a"].shape == (6, 5, 3, 36, 36) and batch.observations["a"].dtype == th.uint8
        assert batch.first_observations["b"].shape == (6, 1)
    else:
        assert batch.observations.shape == (6, 5, *buffer.obs_shape)
        assert batch.observations.dtype == batch.first_observations.dtype == dtype
        assert (batch.first_observations[0].numpy() == np.reshape(vec_obs[0], (n_envs, -1, *buffer.obs_shape[1:]))).any()
    for trajectory in buffer.trajectories():
        assert trajectory.actions.shape == (8, *action_space.shape)
        assert trajectory.actions.dtype == action_space.dtype
        if isinstance(action_space, spaces.Box):
            assert (trajectory.actions == 5).all()
    # In again, from env units
    copy = TrajectoryReplayBuffer(20, space, action_space, "cpu")
    copy.add_trajectory(trajectory)
    np.testing.assert_array_equal(copy.actions[:8, 0], buffer.actions[:8, -1])
    buffer.set_n_envs(1)
    assert buffer.n_trajectories == n_envs


def test_dataset_actions_are_scaled_exactly():
    space = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 10], np.float32))
    actions = np.array([[0.1234567, 5.0], [-1.0, 10.0], [1.0, 0.0]], dtype=np.float32)
    buffer = TrajectoryReplayBuffer(3, OBSERVATION_SPACE, space)
    buffer.add_trajectory(Trajectory(np.zeros((3, 2)), actions, np.zeros(3), True, False))
    expected = np.array([[0.1234567, 0.0], [-1.0, 1.0], [1.0, -1.0]], dtype=np.float32)
    np.testing.assert_array_equal(buffer.actions[:, 0], expected)
    np.testing.assert_array_equal(buffer.trajectories()[0].actions, actions)


def test_both_memory_options_are_accepted():
    buffer = make_buffer(10, optimize_memory_usage=True, handle_timeout_termination=True)
    assert buffer.optimize_memory_usage
