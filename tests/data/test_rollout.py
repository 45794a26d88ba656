"""Trajectories of an env that says what must be in them."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac.data import TrajectoryReplayBuffer, buffer_trajectories, rollout_trajectories


class CountingEnv(gym.Env):
    """Observation (number, episode, step), reward step + action; ends after ``length`` steps."""

    action_space = spaces.Box(-2.0, 2.0, (1,))

    def __init__(self, number=0, length=3, terminates=True, as_dict=False):
        self.number, self.length, self.terminates, self.as_dict = number, length, terminates, as_dict
        self.observation_space = spaces.Box(-1e6, 1e6, (3,))
        if as_dict:
            self.observation_space = spaces.Dict({"a": self.observation_space, "b": spaces.Discrete(10)})
        self.episode, self.step_count = -1, 0

    def observe(self):
        obs = np.array([self.number, self.episode, self.step_count], dtype=np.float32)
        return {"a": obs, "b": self.step_count % 10} if self.as_dict else obs

    def reset(self, seed=None, options=None):
        self.episode, self.step_count = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action):
        reward = float(self.step_count + action[0])
        self.step_count += 1
        end = self.step_count == self.length
        return self.observe(), reward, end and self.terminates, end and not self.terminates, {}


class CountingPolicy:
    """Acts 0.5 in env units, and checks that state and episode starts are those of the episodes."""

    def __init__(self):
        self.n_starts = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        obs = observation["a"] if isinstance(observation, dict) else observation
        n_envs = len(obs)
        if state is None:
            assert episode_start.all()
            state = (np.zeros(n_envs),)
        steps = np.where(episode_start, 0, state[0])
        self.n_starts += int(episode_start.sum())
        return np.full((n_envs, 1), 0.5, dtype=np.float32), (steps + 1,)


def vec_env(*lengths, **kwargs):
    return DummyVecEnv([lambda i=i, length=length: CountingEnv(i, length, **kwargs) for i, length in enumerate(lengths)])


def check_whole(trajectories, lengths):
    for trajectory in trajectories:
        obs = trajectory.observations["a"] if isinstance(trajectory.observations, dict) else trajectory.observations
        assert len(trajectory) == lengths[int(obs[0, 0])]
        assert (obs[:, :2] == obs[0, :2]).all()
        np.testing.assert_array_equal(obs[:, 2], np.arange(len(trajectory)))
        np.testing.assert_array_equal(trajectory.rewards, np.arange(len(trajectory)) + 0.5)
        assert (trajectory.actions == 0.5).all() and trajectory.actions.shape == (len(trajectory), 1)


def count_by_env(trajectories, n_envs):
    return np.bincount([int(trajectory.observations[0, 0]) for trajectory in trajectories], minlength=n_envs).tolist()


@pytest.mark.parametrize("terminates", [True, False])
def test_one_env(terminates):
    trajectories = rollout_trajectories(CountingPolicy(), CountingEnv(terminates=terminates), n_episodes=4)
    assert len(trajectories) == 4
    check_whole(trajectories, [3])
    assert all(trajectory.terminated == terminates != trajectory.truncated for trajectory in trajectories)


def test_short_episodes_get_no_more_than_their_share():
    policy, lengths = CountingPolicy(), [1, 10, 4]
    trajectories = rollout_trajectories(policy, vec_env(*lengths), n_episodes=7)
    assert count_by_env(trajectories, 3) == [2, 2, 3]
    check_whole(trajectories, lengths)
    # A plan per episode asked for, none for the envs that have met their quota
    assert policy.n_starts == 7


def test_fewer_episodes_than_envs():
    trajectories = rollout_trajectories(CountingPolicy(), vec_env(2, 3, 4), n_episodes=1)
    assert count_by_env(trajectories, 3) == [0, 0, 1]
    check_whole(trajectories, [2, 3, 4])


def test_number_of_steps():
    lengths = [1, 10, 4]
    trajectories = rollout_trajectories(CountingPolicy(), vec_env(*lengths), n_steps=12)
    # Four rows reach the budget; what was started by then is finished
    assert count_by_env(trajectories, 3) == [4, 1, 1]
    check_whole(trajectories, lengths)
    assert [len(trajectory) for trajectory in rollout_trajectories(CountingPolicy(), CountingEnv(), n_steps=4)] == [3, 3]


def test_dict_observations():
    trajectories = rollout_trajectories(CountingPolicy(), vec_env(3, 2, as_dict=True), n_episodes=2)
    check_whole(trajectories, [3, 2])
    assert trajectories[1].observations["b"].tolist() == [0, 1, 2]


def test_vec_normalize_is_undone():
    env = VecNormalize(vec_env(3, 5))
    trajectories = rollout_trajectories(CountingPolicy(), env, n_episodes=4)
    check_whole(trajectories, [3, 5])


def test_sb3_policy_acts_in_env_units():
    model = PPO("MlpPolicy", gym.make("Pendulum-v1", max_episode_steps=5), n_steps=8, batch_size=8, device="cpu", seed=0)
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1", max_episode_steps=5)] * 2)
    env.seed(0)
    trajectories = rollout_trajectories(model, env, n_episodes=4)
    assert [len(trajectory) for trajectory in trajectories] == [5] * 4
    expected, _ = model.predict(trajectories[0].observations, deterministic=True)
    np.testing.assert_allclose(trajectories[0].actions, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kwargs", [{}, {"n_episodes": 1, "n_steps": 1}])
def test_either_episodes_or_steps(kwargs):
    with pytest.raises(ValueError, match="either n_episodes or n_steps"):
        rollout_trajectories(CountingPolicy(), CountingEnv(), **kwargs)


def play_into(buffer, env, n_rows):
    """As an off-policy algorithm does."""
    obs = env.reset()
    for _ in range(n_rows):
        action = np.full((env.num_envs, 1), 0.25, dtype=np.float32)  # 0.5 in env units
        next_obs, reward, done, infos = env.step(2 * action)
        stored = {key: value.copy() for key, value in next_obs.items()} if isinstance(next_obs, dict) else next_obs.copy()
        for i in np.flatnonzero(done):
            final = infos[i]["terminal_observation"]
            if isinstance(stored, dict):
                for key in stored:
                    stored[key][i] = final[key]
            else:
                stored[i] = final
        buffer.add(obs, stored, action, reward, done, infos)
        obs = next_obs


def make_sb3_buffer(env, size, **kwargs):
    cls = DictReplayBuffer if isinstance(env.observation_space, spaces.Dict) else ReplayBuffer
    return cls(size, env.observation_space, env.action_space, "cpu", n_envs=env.num_envs, **kwargs)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("terminates", [False, True])
def test_from_a_replay_buffer(as_dict, terminates):
    env = vec_env(3, 4, as_dict=as_dict, terminates=terminates)
    buffer = make_sb3_buffer(env, 100)
    play_into(buffer, env, 12)
    trajectories = buffer_trajectories(buffer)
    assert [len(trajectory) for trajectory in trajectories] == [3] * 4 + [4] * 3
    check_whole(trajectories, [3, 4])
    assert all(trajectory.terminated == terminates != trajectory.truncated for trajectory in trajectories)


def test_from_a_replay_buffer_with_an_unfinished_rest():
    env = vec_env(3, 5)
    buffer = make_sb3_buffer(env, 100)
    play_into(buffer, env, 7)
    trajectories = buffer_trajectories(buffer)
    assert [len(trajectory) for trajectory in trajectories] == [3, 3, 5]  # what the rests would have returned is unknown
    assert all(trajectory.terminated and not trajectory.truncated for trajectory in trajectories)


def test_from_a_replay_buffer_with_a_reset():
    env = vec_env(5)
    buffer = make_sb3_buffer(env, 100)
    play_into(buffer, env, 7)
    play_into(buffer, env, 5)  # resets two steps into the second episode
    trajectories = buffer_trajectories(buffer)
    assert [len(trajectory) for trajectory in trajectories] == [5, 5]
    assert all(trajectory.terminated for trajectory in trajectories)


@pytest.mark.parametrize("kwargs", [{}, {"optimize_memory_usage": True, "handle_timeout_termination": False}])
def test_from_a_full_replay_buffer(kwargs):
    env = vec_env(3, 4)
    buffer = make_sb3_buffer(env, 20, **kwargs)
    play_into(buffer, env, 12)
    trajectories = buffer_trajectories(buffer)
    # Rows 2 to 11 of each env: episodes of the first began at 0, 3, 6, 9, those of the second at 0, 4, 8
    assert [len(trajectory) for trajectory in trajectories] == [3] * 3 + [4] * 2
    check_whole(trajectories, [3, 4])


def test_from_a_replay_buffer_without_a_whole_trajectory():
    env = vec_env(30)
    buffer = make_sb3_buffer(env, 10)
    with pytest.raises(ValueError, match="no whole trajectory"):
        buffer_trajectories(buffer)
    play_into(buffer, env, 5)
    with pytest.raises(ValueError, match="no whole trajectory"):
        buffer_trajectories(buffer)
    play_into(buffer, env, 15)
    with pytest.raises(ValueError, match="no whole trajectory"):
        buffer_trajectories(buffer)


def test_from_a_trajectory_replay_buffer():
    env = vec_env(3, 4)
    buffer = TrajectoryReplayBuffer(100, env.observation_space, env.action_space, "cpu", n_envs=2)
    play_into(buffer, env, 11)
    trajectories = buffer_trajectories(buffer)
    assert sorted(len(trajectory) for trajectory in trajectories) == [3, 3, 3, 4, 4]
    check_whole(trajectories, [3, 4])
