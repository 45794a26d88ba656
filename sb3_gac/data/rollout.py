"""Trajectories from an env and a policy, and from what an SB3 algorithm left in its replay buffer."""

from collections.abc import Callable
from itertools import compress
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import unscale_actions
from sb3_gac.data.trajectory import (
    Array,
    Observations,
    Trajectory,
    discontinuities,
    error_context,
    map_observations,
    split_trajectories,
)


def rollout_trajectories(
    model: PolicyPredictor,
    env: gym.Env[Any, Any] | VecEnv,
    n_episodes: int | None = None,
    n_steps: int | None = None,
    deterministic: bool = True,
    on_step: Callable[[VecEnv, Array], None] | None = None,
) -> list[Trajectory]:
    """
    Play whole episodes with a policy: the one loop that rolls episodes.

    Short episodes are not over-represented: a number of episodes is shared out among the envs beforehand,
    and with a number of steps every episode that was started is finished. The env must end its episodes.

    :param model: SB3 algorithm or policy, or whatever has their ``predict``.
    :param env: The env, or several in a VecEnv. Observations and rewards are recorded as they were
        before a VecNormalize, whose statistics move on if it is in training mode.
    :param n_episodes: Number of episodes; give either this or ``n_steps``.
    :param n_steps: No episode is started once this number of steps has been recorded.
    :param deterministic: Whether the policy acts deterministically.
    :param on_step: Called after the reset and each step with the VecEnv and which episodes ended, of shape ``(n_envs,)``.
    :return: The trajectories in the order in which they ended, with actions in env units.
    :raises ValueError: when both or neither of ``n_episodes`` and ``n_steps`` are given, or there is no episode to play.
    """
    if (n_episodes is None) == (n_steps is None):
        raise ValueError("give either n_episodes or n_steps")
    if n_episodes is not None and n_episodes < 1:
        raise ValueError(f"n_episodes must be at least 1, got {n_episodes}")
    vec_env = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])
    normalize = unwrap_vec_normalize(vec_env)
    n_envs = vec_env.num_envs
    # Episodes that each env may still start; without a quota the step budget alone decides
    quotas = np.array([np.iinfo(np.int64).max if n_episodes is None else (n_episodes + i) // n_envs for i in range(n_envs)])

    recordings: list[list[tuple[Observations, Array, float]]] = [[] for _ in range(n_envs)]
    trajectories: list[Trajectory] = []
    n_recorded = 0
    observations: Any = vec_env.reset()
    state: tuple[Array, ...] | None = None
    episode_start = np.ones(n_envs, dtype=np.bool_)
    on_step = on_step or (lambda vec_env, dones: None)
    on_step(vec_env, np.zeros(n_envs, dtype=np.bool_))
    while (quotas > 0).any():
        raw_observations: Any = normalize.get_original_obs() if normalize else observations
        actions, state = model.predict(observations, state=state, episode_start=episode_start, deterministic=deterministic)
        observations, rewards, dones, infos = vec_env.step(actions)
        on_step(vec_env, dones)
        if normalize:
            rewards = normalize.get_original_reward()
        active = np.flatnonzero(quotas > 0)
        n_recorded += len(active)
        ended = active[dones[active]]
        quotas[ended] = 0 if n_steps is not None and n_recorded >= n_steps else quotas[ended] - 1
        # An env that has met its quota starts no episode: a policy that plans need not plan for it
        episode_start = dones & (quotas > 0)
        for i in active:
            observation = map_observations(lambda array, i=i: np.array(array[i]), raw_observations)  # type: ignore[misc]
            recordings[i].append((observation, actions[i], float(rewards[i])))
        for i in ended:
            trajectories.append(_as_trajectory(recordings[i], bool(infos[i].get("TimeLimit.truncated", False))))
            recordings[i] = []
    return trajectories


def buffer_trajectories(replay_buffer: ReplayBuffer) -> list[Trajectory]:
    """
    Trajectories that an SB3 replay buffer holds, in env units.

    Of a :class:`~sb3_gac.data.buffer.TrajectoryReplayBuffer` they are the closed ones. Of any other they end with
    ``dones``. Those that did not end are left out, for what they would have returned is unknown: the last one of each env
    and, where the buffer stores next observations, those that do not continue with the next row (the env was reset).
    When the buffer is full, the oldest one of each env has lost its start and is left out, too.

    :param replay_buffer: A ReplayBuffer or one of its subclasses, for Dict spaces too.
    :return: The trajectories, env by env, oldest first.
    :raises ValueError: when the buffer holds no whole trajectory, or numbers that are not finite.
    """
    if isinstance(replay_buffer, TrajectoryReplayBuffer):
        return replay_buffer.trajectories()
    size = replay_buffer.size()
    # Chronological order
    rows = (np.arange(size) + (replay_buffer.pos if replay_buffer.full else 0)) % replay_buffer.buffer_size
    next_observations: Observations | None = getattr(replay_buffer, "next_observations", None)
    trajectories: list[Trajectory] = []
    for column in range(replay_buffer.n_envs):

        def take(array: Array, column: int = column) -> Array:
            taken: Array = array[rows, column]
            return taken

        observations = map_observations(take, replay_buffer.observations)
        done = take(replay_buffer.dones).astype(np.bool_)
        truncated = done & take(replay_buffer.timeouts).astype(np.bool_)
        terminated = done & ~truncated
        is_cut = np.zeros(size, dtype=np.bool_)
        if next_observations is not None:
            is_cut = discontinuities(observations, map_observations(take, next_observations)) & ~done
        actions = unscale_actions(replay_buffer.action_space, take(replay_buffer.actions))
        with error_context(f"env {column}"):
            parts = split_trajectories(observations, actions, take(replay_buffer.rewards), terminated, truncated | is_cut)
        is_whole = ~is_cut[done | is_cut]
        if replay_buffer.full:
            is_whole[:1] = False
        trajectories.extend(compress(parts, is_whole))
    if not trajectories:
        raise ValueError("the replay buffer holds no whole trajectory")
    return trajectories


def _as_trajectory(recording: list[tuple[Observations, Array, float]], truncated: bool) -> Trajectory:
    observations, actions, rewards = zip(*recording, strict=True)
    stacked: Observations
    if isinstance(observations[0], dict):
        stacked = {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    else:
        stacked = np.stack(observations)
    return Trajectory(stacked, np.stack(actions), np.array(rewards), terminated=not truncated, truncated=truncated)
