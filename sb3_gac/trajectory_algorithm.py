"""Off-policy learning from whole trajectories, in environments that others may step, too."""

import io
import math
import pathlib
import warnings
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn
from stable_baselines3.common.vec_env import VecEnv

from sb3_gac.atomic import file_to_save, replace_when_complete
from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import check_supported, unscale_actions
from sb3_gac.exploration import Behaviour
from sb3_gac.policies import LatentPlanPolicy
from sb3_gac.rollout_env import RolloutEnv
from sb3_gac.type_aliases import Array

SelfTrajectoryAlgorithm = TypeVar("SelfTrajectoryAlgorithm", bound="TrajectoryAlgorithm")

ROWS_AT_ONCE = 4096  # observations that statistics are updated by
# Steps that the statistics of observations are taken of, and their numbers in all: fewer steps of large observations
STATISTICS_STEPS, STATISTICS_NUMBERS = 10_000, 20_000_000
STATISTICS_GROWTH = 0.2


class TrajectoryAlgorithm(OffPolicyAlgorithm):
    """
    SB3's off-policy algorithm whose replay buffer holds trajectories that are whole, whatever happens.

    What interrupts a rollout, or steps and resets its environments, ends in new episodes: nothing is glued or cut without a
    mark. Subclasses say what an episode follows.
    """

    policy: LatentPlanPolicy
    replay_buffer: TrajectoryReplayBuffer | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offline_buffer: TrajectoryReplayBuffer | None = None
        self._n_offline_updates = 0
        self._is_offline = False
        self._known_steps: list[int] = []  # ever written to the buffers, when the statistics were last taken
        self._sees_normalized = False  # whether these are of observations that a VecNormalize has normalised
        self._rollout_returns = np.zeros(0)  # of the episodes under way
        self._stepped_env: RolloutEnv | None = None
        self._behaviours = np.zeros(0, dtype=np.int64)  # what the episode of each environment follows

    def _setup_model(self) -> None:
        if self.replay_buffer_class is None:
            self.replay_buffer_class = TrajectoryReplayBuffer
        check_supported(self.observation_space, self.action_space)
        if not issubclass(self.replay_buffer_class, TrajectoryReplayBuffer):
            raise TypeError(
                "GAC learns from whole trajectories: replay_buffer_class must be a TrajectoryReplayBuffer, "
                f"not {self.replay_buffer_class.__name__}"
            )
        super()._setup_model()

    # ---------------------------------------------------------------- what subclasses say

    def _begin_rollout(self) -> None:
        """Every environment has been, or is about to be, reset."""
        self._rollout_returns = np.zeros(self.n_envs)

    @abstractmethod
    def _begin_episodes(self, is_start: Array, learning_starts: int) -> None:
        """Decide what the episodes that start follow."""

    @abstractmethod
    def _end_episode(self, episode_return: float) -> None:
        """An episode has ended, with this return in env units."""

    @abstractmethod
    def _act(self, behaviour: Behaviour, envs: Array) -> Array:
        """Buffer actions of the environments that follow a behaviour, of shape ``(len(envs), *action_shape)``."""

    @property
    @abstractmethod
    def _knows_returns(self) -> bool:
        """Whether an episode had ended, or there was a data set, when statistics were taken."""

    @abstractmethod
    def _fit_target(self, returns: Array) -> None:
        """Aim at the returns that are known by now, of shape ``(n_trajectories,)`` in env units."""

    def _buffers(self) -> list[TrajectoryReplayBuffer]:
        """The data set, then the replay buffer, where they hold a whole trajectory; what there is while none does."""
        buffers = [buffer for buffer in (self.offline_buffer, self.replay_buffer) if buffer is not None and buffer.size() > 0]
        return [buffer for buffer in buffers if buffer.n_trajectories > 0] or buffers

    def _check_has_networks(self) -> None:
        if self.observation_space is None:
            raise ValueError(
                "this model has no networks yet, they need spaces: give it an environment with env=... or set_env(), or a "
                "data set with learn_offline()"
            )

    # ---------------------------------------------------------------- statistics

    @property
    def _is_normalized(self) -> bool:
        return self._vec_normalize_env is not None and self._vec_normalize_env.norm_obs

    def _fresh_statistics(self) -> dict[str, RunningMeanStd]:
        """Statistics of a ``VecNormalize`` that have seen nothing yet, by the key of the observations."""
        if self._vec_normalize_env is None or not self._is_normalized:
            return {}
        statistics = self._vec_normalize_env.obs_rms
        by_key = statistics if isinstance(statistics, dict) else {"": statistics}
        return {key: running for key, running in by_key.items() if running.count < 1}

    def _fit_normalization(self) -> None:
        """
        A ``VecNormalize`` that has seen nothing yet takes its statistics of observations from the data, and the model its
        own from what it sees through it.
        """
        buffers = self._buffers()
        if not buffers:
            return
        fresh = self._fresh_statistics()
        if fresh and self._vec_normalize_env is not None and self._vec_normalize_env.training:
            observations = buffers[0].observations
            parts = observations if isinstance(observations, dict) else {"": observations}
            for key, running in fresh.items():
                for start in range(0, buffers[0].size(), ROWS_AT_ONCE):
                    rows = parts[key][start : min(start + ROWS_AT_ONCE, buffers[0].size())]
                    running.update(rows.reshape(-1, *running.mean.shape))
            self._known_steps = []
        is_changed = self._n_updates > 0 and self._is_normalized != self._sees_normalized
        if not self._known_steps and (self._n_offline_updates > 0 or is_changed):
            self._take_statistics()  # the model acts before it learns again

    def _check_normalization(self) -> None:
        """Warn when what has learnt with a ``VecNormalize`` is to go on without, or the other way round."""
        if self._n_updates == 0 or self._is_normalized == self._sees_normalized:
            return
        self._known_steps = []  # the statistics are of other observations
        if self._sees_normalized:
            warnings.warn(
                "the model was trained with observations that a VecNormalize had normalised, env has none: wrap it with "
                "VecNormalize.load(path, env), with the statistics that were saved beside the model",
                stacklevel=4,
            )
        elif not self._buffers():
            warnings.warn("the model was trained without the VecNormalize that env has", stacklevel=4)

    def _take_statistics(self) -> None:
        """
        Standardise observations and returns by the data, whenever much has come to a buffer.

        What was learnt offline keeps the statistics of its data set.
        """
        buffers = self._buffers()
        returns_are_new = not self._knows_returns and any(buffer.n_trajectories > 0 for buffer in buffers)
        has_grown = len(buffers) > len(self._known_steps) or any(map(self._has_grown, buffers, self._known_steps))
        if not (returns_are_new or has_grown):
            return
        has_statistics, self._known_steps = bool(self._known_steps), [buffer.n_rows * buffer.n_envs for buffer in buffers]
        returns = np.concatenate([buffer.steps().returns for buffer in buffers])
        is_finetuning = self._n_offline_updates > 0 and not self._is_offline
        if not (is_finetuning and has_statistics):  # others would change what the networks have learnt to read
            # Of the data set alone, where there is one: it is what is learnt first
            self._take_observation_statistics(buffers[0])
            if returns_are_new or self._knows_returns:
                self.policy.model.set_return_statistics(th.as_tensor(returns))
        if returns_are_new or self._knows_returns:
            self._fit_target(returns)

    def _take_first_statistics(self) -> None:
        """Standardise observations after 2, 4, 8, ... steps, while nothing is learnt yet: random policies see them."""
        assert self.replay_buffer is not None
        n_rows = self.replay_buffer.n_rows
        if n_rows > 1 and n_rows & (n_rows - 1) == 0 and not self._known_steps:
            self._take_observation_statistics(self.replay_buffer)

    def _take_observation_statistics(self, buffer: TrajectoryReplayBuffer) -> None:
        """Standardise observations by those of a buffer."""
        self._sees_normalized = self._is_normalized
        indices = buffer.steps().indices
        n_sampled = max(min(STATISTICS_STEPS, STATISTICS_NUMBERS // spaces.flatdim(self.observation_space)), 1)
        sample = indices[:: math.ceil(len(indices) / n_sampled)]
        self.policy.standardizer.set_statistics(buffer.observations_at(sample, self._vec_normalize_env))

    @staticmethod
    def _has_grown(buffer: TrajectoryReplayBuffer, known_steps: int) -> bool:
        """Whether a buffer holds much that is new since so many steps had been written."""
        n_steps = buffer.n_rows * buffer.n_envs  # loading may change the number of envs
        n_held = min(known_steps, buffer.buffer_size * buffer.n_envs)
        if n_steps < known_steps:  # a model that was loaded without its data keeps its statistics until there is as much
            return n_steps >= n_held
        return n_steps - known_steps >= STATISTICS_GROWTH * n_held

    # ---------------------------------------------------------------- rollouts

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        assert self.env is not None, "You must set the environment before calling learn()"
        is_reset = reset_num_timesteps or self._last_obs is None  # the environments are about to be
        rollout_env = self._rollout_env
        if self._n_updates > 0 and not self._is_offline and self._fresh_statistics():
            warnings.warn(
                "the VecNormalize of env has seen nothing yet, the model was trained with other statistics: load them with "
                "VecNormalize.load(path, env)",
                stacklevel=3,
            )
        if is_reset:
            self._warn_of_lost_steps()
            self._forget_rollout()
        if isinstance(self.action_noise, VectorizedActionNoise) and self.action_noise.n_envs != self.n_envs:
            self.action_noise = self.action_noise.base_noise  # made for other environments; SB3 vectorises it anew
        with rollout_env.keep_statistics():
            started = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
            if is_reset:
                assert self._last_obs is not None
                rollout_env.check_reset(self._last_obs)
                self._last_original_obs = rollout_env.original_obs(self._last_obs)  # type: ignore[assignment]
                rollout_env.store()
        end = started[0]
        if not self._is_offline and self._n_offline_updates == 0 and self.gradient_steps != 0 and end <= self.learning_starts:
            warnings.warn(
                f"nothing is learnt: learning starts after {self.learning_starts} timesteps, and learn() ends after {end}",
                stacklevel=3,
            )
        return started

    def _warn_of_lost_steps(self) -> None:
        if self._is_offline or self.replay_buffer is None or self._episode_num > 0:
            return
        if self.replay_buffer.has_open_trajectories:
            warnings.warn(
                "every call of learn() resets the environments, and no episode had ended in the last one: no return of it is "
                "learnt. Give it more timesteps, or reset_num_timesteps=False to go on with the episodes",
                stacklevel=5,
            )

    @property
    def _rollout_env(self) -> RolloutEnv:
        assert self.env is not None
        if self._stepped_env is None or self._stepped_env.venv is not self.env:
            last, self._stepped_env = self._stepped_env, RolloutEnv(self.env)
            if last is not None and not last.is_known:  # other wrappers around environments that still have to be reset
                self._stepped_env.forget()
        return self._stepped_env

    def _forget_rollout(self) -> None:
        """The episodes under way will not go on: nobody knows what they would have returned."""
        if self._stepped_env is not None:
            self._stepped_env.forget()
        if self.replay_buffer is not None:
            self.replay_buffer.drop_open_trajectories()
        if self.action_noise is not None:
            self.action_noise.reset()
        self._begin_rollout()

    def _restart_rollout(self) -> None:
        """Forget the episodes under way, and begin new ones."""
        self._forget_rollout()
        rollout_env = self._rollout_env
        self._last_obs = rollout_env.reset()  # type: ignore[assignment]
        self._last_episode_starts = np.ones(rollout_env.num_envs, dtype=bool)
        self._last_original_obs = rollout_env.original_obs(self._last_obs)  # type: ignore[assignment, arg-type]
        rollout_env.store()

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        As SB3's, but plans are carried from step to step, and the first episodes follow random policies.

        Environments that are not where the last transition ended begin new episodes: there was an error in a step, a callback
        that stopped the rollout, or somebody else who stepped or reset them.
        """
        if self._rollout_env.was_moved:
            warnings.warn(
                "the training environments were stepped or reset outside of learn(), such as by an evaluation: their episodes "
                "under way are dropped, and they are reset. Evaluate in environments of their own to keep all episodes",
                stacklevel=2,
            )
        if self._last_obs is None or not self._rollout_env.is_known:
            self._restart_rollout()
        assert self._last_obs is not None and self._last_episode_starts is not None
        self._take_first_statistics()
        self._begin_episodes(np.asarray(self._last_episode_starts, dtype=bool), learning_starts)
        buffer_actions = np.zeros((n_envs, *self.action_space.shape), dtype=self.action_space.dtype)  # type: ignore[misc]
        is_box = isinstance(self.action_space, spaces.Box)
        if is_box:
            buffer_actions = buffer_actions.astype(np.float32)
        for behaviour in Behaviour:
            envs = np.flatnonzero(self._behaviours == behaviour)
            if len(envs) > 0:
                buffer_actions[envs] = self._act(behaviour, envs)
        if not is_box:
            return buffer_actions, buffer_actions
        if action_noise is not None:
            buffer_actions = np.clip(buffer_actions + action_noise(), -1, 1)
        return unscale_actions(self.action_space, buffer_actions), buffer_actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        assert isinstance(replay_buffer, TrajectoryReplayBuffer)
        rollout_env = self._rollout_env
        if not rollout_env.is_pending:  # a callback has begun new episodes since the step
            return
        rollout_env.restore_latest()
        rewards = reward if self._vec_normalize_env is None else self._vec_normalize_env.get_original_reward()
        original_obs: Any = rollout_env.original_obs(new_obs)
        assert self._last_original_obs is not None
        # Trajectories need no next observations, the last of an episode neither
        replay_buffer.add(self._last_original_obs, original_obs, buffer_action, rewards, dones, infos)
        self._last_obs, self._last_original_obs = new_obs, original_obs
        self._last_episode_starts = dones
        self._rollout_returns += rewards
        for env_index in np.flatnonzero(dones):
            self._end_episode(float(self._rollout_returns[env_index]))
            self._rollout_returns[env_index] = 0.0
        rollout_env.store()  # last: whatever is interrupted before ends in new episodes

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> RolloutReturn:
        """
        As SB3's, in environments that are watched, see :class:`~sb3_gac.rollout_env.RolloutEnv`.

        The number of steps that it returns is that of the gradient steps where ``gradient_steps`` is negative.
        """
        rollout = super().collect_rollouts(self._rollout_env, *args, **kwargs)
        if self.gradient_steps < -1:
            # The first time, those of the steps before learning started are due, too
            before = 0 if self._n_updates == 0 else self.num_timesteps - rollout.episode_timesteps
            n_due = self.num_timesteps // -self.gradient_steps - before // -self.gradient_steps
            rollout = rollout._replace(episode_timesteps=n_due)
        return rollout

    def learn(
        self: SelfTrajectoryAlgorithm,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str = "GAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfTrajectoryAlgorithm:
        return super().learn(
            total_timesteps,
            callback,
            log_interval,  # type: ignore[arg-type]  # None never logs, as in collect_rollouts
            tb_log_name,
            reset_num_timesteps,
            progress_bar,
        )

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """
        Set the environment to learn in; a model that has none yet takes on any number of parallel ones.

        :param env: The environment.
        :param force_reset: Whether to reset it before the next rollout.
        :raises AssertionError: when the model has had another number of parallel environments; load it with the new ones.
        """
        env = self._wrap_env(env, self.verbose)
        if self.observation_space is None:
            self.observation_space, self.action_space, self.n_envs = env.observation_space, env.action_space, env.num_envs
            self._setup_model()
        elif self.env is None and self.n_envs != env.num_envs:
            assert self.replay_buffer is not None
            self.n_envs = env.num_envs
            self.replay_buffer.set_n_envs(self.n_envs)
        super().set_env(env, force_reset)
        if force_reset:
            self._forget_rollout()
        self._check_normalization()
        self._fit_normalization()

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Actions for observations, and the plans to pass back at the next step.

        :param observation: Observation, or a batch of them.
        :param state: What the last call returned; ``None`` at the start.
        :param episode_start: Whether each environment has just been reset, of shape ``(n_envs,)``.
        :param deterministic: Whether to exploit or to explore.
        :raises ValueError: when the model has met neither an environment nor a data set, see also
            :meth:`LatentPlanPolicy.predict <sb3_gac.policies.LatentPlanPolicy.predict>`.
        """
        self._check_has_networks()
        return super().predict(observation, state, episode_start, deterministic)

    # ---------------------------------------------------------------- saving

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save all that the model is, without the data it learns from; a file that is there is replaced once this one is whole.

        :param path: Path of the zip file, or an open file.
        :param exclude: Names of attributes to leave out as well.
        :param include: Names of attributes to keep that would be left out.
        :raises ValueError: when the model has met neither an environment nor a data set.
        """
        self._check_has_networks()
        self.keep_settings()
        if isinstance(path, io.BufferedIOBase):
            return super().save(path, exclude, include)
        with replace_when_complete(file_to_save(path, "zip")) as partial:
            super().save(partial, exclude, include)

    def keep_settings(self) -> None:
        """Make ``policy_kwargs`` of what has been changed of acting, so that a saved model acts as this one does."""
        self.policy_kwargs = {**self.policy_kwargs, **self.policy.planner.changed_settings()}

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Save the replay buffer in a safetensors file with a checksum; one that is there is replaced once this one is whole.

        :param path: Path of the file, or an open file.
        """
        from sb3_gac.data.stored_buffer import SUFFIX, write_buffer

        assert self.replay_buffer is not None, "The replay buffer is not defined"
        if isinstance(path, io.BufferedIOBase):
            return write_buffer(path, self.replay_buffer)
        with replace_when_complete(file_to_save(path, SUFFIX)) as partial:
            write_buffer(partial, self.replay_buffer)

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer that :meth:`save_replay_buffer` has written; nothing of the file is run.

        It may have been filled by another number of environments, or be of another size: ``buffer_size`` holds for what is
        loaded, too.

        :param path: Path of the file, or an open file.
        :param truncate_last_traj: Whether the episodes that were under way when it was saved are over: ``learn`` then lets
            go of them and resets the environments. ``False`` is for environments that go on where they were.
        :raises ValueError: when the model has no spaces yet; naming the file and what is wrong when it is damaged, no replay
            buffer or one of other spaces.
        """
        from sb3_gac.data.stored_buffer import read_buffer

        self._check_has_networks()
        assert self.replay_buffer_class is not None and issubclass(self.replay_buffer_class, TrajectoryReplayBuffer)
        settings = {"n_envs": self.n_envs, **self.replay_buffer_kwargs}
        empty = self.replay_buffer_class(self.buffer_size, self.observation_space, self.action_space, **settings)
        self.replay_buffer = read_buffer(path, empty, self.verbose)
        self.replay_buffer.device = self.device
        if truncate_last_traj:
            self._last_obs = None
        self._fit_normalization()

    def _excluded_save_params(self) -> list[str]:
        passing = ["_is_offline", "_rollout_returns", "_behaviours", "_stepped_env"]
        if self._stepped_env is not None and not self._stepped_env.is_known:
            passing.append("_last_obs")  # nothing goes on from it
        return [*super()._excluded_save_params(), "offline_buffer", *passing]
