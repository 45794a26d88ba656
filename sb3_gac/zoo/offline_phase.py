"""Learning from a data set inside of ``learn``, for whoever calls nothing else."""

import time

from stable_baselines3.common.callbacks import BaseCallback

from sb3_gac.gac import GAC
from sb3_gac.type_aliases import DatasetSource

# What `learn` has set up when its callbacks start, and `learn_offline` sets up for itself
LEARN_STATE = (
    "num_timesteps",
    "_num_timesteps_at_start",
    "_total_timesteps",
    "_current_progress_remaining",
    "_episode_num",
    "ep_info_buffer",
    "ep_success_buffer",
    "_logger",
)


class OfflinePhase(BaseCallback):
    """
    Learn from a data set before the first environment step.

    It makes offline-to-online learning one command of the RL Zoo, whose files of hyper-parameters name it so::

        callback:
          - sb3_gac.zoo.OfflinePhase:
              data: mujoco/hopper/medium-v0
              gradient_steps: 6000

    A model that has learnt offline for as many steps, such as one resumed with ``-i``, only gets its data set back.

    :param data: Minari id, path of a Minari data set or of a D4RL hdf5 file, trajectories, or a replay buffer.
    :param gradient_steps: Gradient steps that the model shall have made offline.
    :param log_interval: Gradient steps between two logs; ``None`` never logs.
    :param progress_bar: Whether to show a progress bar.
    :param verbose: 1 tells when the phase starts and ends.
    :raises ValueError: when ``gradient_steps`` is negative.
    """

    def __init__(
        self,
        data: DatasetSource,
        gradient_steps: int,
        log_interval: int | None = 500,
        progress_bar: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose)
        if gradient_steps < 0:
            raise ValueError(f"gradient_steps must not be negative, got {gradient_steps}")
        self.data = data
        self.gradient_steps = gradient_steps
        self.log_interval = log_interval
        self.progress_bar = progress_bar

    def _init_callback(self) -> None:
        if not isinstance(self.model, GAC):
            raise TypeError(f"OfflinePhase is for GAC, not for {type(self.model).__name__}")

    def _on_training_start(self) -> None:
        assert isinstance(self.model, GAC)
        model = self.model
        n_left = max(self.gradient_steps - model._n_offline_updates, 0)
        if n_left == self.gradient_steps:
            _forget_first_observations(model)
        model.set_offline_data(self.data)
        if n_left == 0:
            return
        self._tell(f"offline phase: {n_left} gradient steps on {self.data if isinstance(self.data, str) else 'data'}")
        before = {name: getattr(model, name) for name in LEARN_STATE}
        try:
            model.learn_offline(None, n_left, log_interval=self.log_interval, progress_bar=self.progress_bar)
        finally:
            for name, value in before.items():
                setattr(model, name, value)
            model.start_time = time.time_ns()  # frames per second are those of the online phase
        self._tell("offline phase: done")

    def _on_step(self) -> bool:
        return True

    def _tell(self, message: str) -> None:
        if self.verbose > 0:
            print(message)


def _forget_first_observations(model: GAC) -> None:
    """
    Let ``VecNormalize`` take its statistics from the data set.

    ``learn`` has reset the environments already: without this, the few observations they began with would stand for all.
    """
    normalizer = model.get_vec_normalize_env()
    if normalizer is None or not normalizer.norm_obs or not normalizer.training:
        return
    statistics = normalizer.obs_rms if isinstance(normalizer.obs_rms, dict) else {"": normalizer.obs_rms}
    for running in statistics.values():
        if running.count < normalizer.num_envs + 1:
            running.count = normalizer.epsilon
