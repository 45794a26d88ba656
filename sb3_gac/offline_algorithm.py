"""Learning from a data set, without environment steps."""

from typing import TypeVar

import numpy as np
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.trajectory_algorithm import TrajectoryAlgorithm
from sb3_gac.type_aliases import DatasetSource, TrajectoryBatch

SelfOfflineAlgorithm = TypeVar("SelfOfflineAlgorithm", bound="OfflineAlgorithm")


class OfflineAlgorithm(TrajectoryAlgorithm):
    """Algorithm that learns from a data set, from environments, or from one after the other."""

    offline_ratio: float
    _credited_steps: int | None

    def learn_offline(
        self: SelfOfflineAlgorithm,
        data: DatasetSource | None,
        gradient_steps: int = 4000,
        callback: MaybeCallback = None,
        log_interval: int | None = 500,
        tb_log_name: str = "GAC_offline",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOfflineAlgorithm:
        """
        Learn from a data set, without environment steps; ``learn`` afterwards fine-tunes the same model.

        One gradient step counts as one timestep for callbacks, loggers and schedules.

        :param data: Minari id, path of a Minari data set or of a D4RL hdf5 file, a dict of the arrays of one, trajectories,
            or a replay buffer; ``None`` goes on with the data set that the model has.
        :param gradient_steps: Number of gradient steps; 0 only attaches the data set.
        :param callback: Called at every gradient step.
        :param log_interval: Gradient steps between two logs; ``None`` never logs.
        :param tb_log_name: Name of the run in TensorBoard.
        :param reset_num_timesteps: Whether to count timesteps from zero.
        :param progress_bar: Whether to show a progress bar.
        :raises ValueError: when the data is bad, or does not match the spaces of the model.
        """
        from sb3_gac.offline_env import OfflineProgressBarCallback, OfflineVecEnv

        if data is not None:
            self.set_offline_data(data)
            self._known_steps = []  # statistics are taken of what is learnt from
        elif self.offline_buffer is None:
            raise ValueError("this model has no data set to go on with: give it one")
        env = self.env
        if env is None:
            self.env = OfflineVecEnv(self.observation_space, self.action_space)
        self._is_offline = True
        try:
            total_timesteps, callback = self._setup_learn(gradient_steps, callback, reset_num_timesteps, tb_log_name)
            if progress_bar:
                callback = CallbackList([callback, OfflineProgressBarCallback()])
                callback.init_callback(self)
            callback.on_training_start(locals(), globals())
            if self.num_timesteps < total_timesteps:
                self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            of_no_rollout = {
                "rewards": np.zeros(self.n_envs),
                "dones": np.zeros(self.n_envs, dtype=bool),
                "infos": [{} for _ in range(self.n_envs)],
            }
            while self.num_timesteps < total_timesteps:
                self.train(gradient_steps=1, batch_size=self.batch_size)
                self._n_offline_updates += 1
                self.num_timesteps += 1
                self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
                callback.update_locals(locals() | of_no_rollout)
                if not callback.on_step():
                    break
                if log_interval is not None and (
                    self.num_timesteps % log_interval == 0 or self.num_timesteps == total_timesteps
                ):
                    self.dump_logs()
            callback.on_training_end()
        finally:
            self._is_offline = False
            self.env = env
            if env is None:
                self._last_obs = None
        return self

    def set_offline_data(self, data: DatasetSource) -> None:
        """
        Attach a data set, that ``learn_offline`` and ``learn`` draw from; it is not saved with the model.

        :param data: See :meth:`learn_offline`.
        :raises ValueError: when the data is bad, or does not match the spaces of the model.
        """
        from sb3_gac.data.dataset import load_dataset
        from sb3_gac.offline_env import OfflineVecEnv

        dataset = load_dataset(data, self.observation_space, self.action_space)
        if self.observation_space is None:
            env = self._wrap_env(OfflineVecEnv(dataset.observation_space, dataset.action_space))
            self.observation_space, self.action_space = env.observation_space, env.action_space
            self._setup_model()
            dataset = load_dataset(dataset, self.observation_space, self.action_space)  # with the channels of images first
        trajectories = dataset.trajectories
        buffer = TrajectoryReplayBuffer(
            sum(len(trajectory) for trajectory in trajectories),
            self.observation_space,
            self.action_space,
            device=self.device,
        )
        for trajectory in trajectories:
            buffer.add_trajectory(trajectory)
        self.offline_buffer = buffer
        self._credited_steps = None
        if self._n_offline_updates == 0:
            self._known_steps = []
        self._fit_normalization()

    def _sample_batch(self, batch_size: int, n_steps: int) -> TrajectoryBatch:
        """Trajectories of the data set and of the replay buffer, at least ``offline_ratio`` of them from the data set."""
        buffers = self._buffers()
        sizes = [batch_size]
        if len(buffers) == 2:
            # The first few rollouts are not seen more than once per gradient step: they would be overfitted
            online_ratio = min(1 - self.offline_ratio, buffers[1].n_trajectories / self.batch_size)
            n_online = round(online_ratio * batch_size)
            sizes = [batch_size - n_online, n_online]
        return TrajectoryBatch.concatenate(
            [
                buffer.sample(size, n_steps, self._vec_normalize_env, self.policy.plan_horizon)
                for buffer, size in zip(buffers, sizes, strict=True)
                if size > 0
            ]
        )
