"""Learning from a data set inside of ``learn``, for whoever calls nothing else."""

import time
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_gac.actor import ACTING_SETTINGS, PlanActor
from sb3_gac.arguments import check_actor_arguments, check_arguments
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
# Arguments that are looked at anew whenever they are needed
SETTINGS = (
    "batch_size",
    "n_encode_steps",
    "n_score_steps",
    "effective_horizon",
    "return_weight",
    "target_kl",
    "kl_learning_rate",
    "kl_warmup",
    "posterior_steps",
    "posterior_learning_rate",
    "gamma",
    "gae_lambda",
    "advantage_temperature",
    "offline_ratio",
    "max_grad_norm",
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
    :param settings: Settings that hold during this phase only: arguments of GAC that learning looks at anew, and
        ``policy_kwargs`` of :class:`~sb3_gac.actor.PlanActor` that plans are made with.
    :param log_interval: Gradient steps between two logs; ``None`` never logs.
    :param progress_bar: Whether to show a progress bar.
    :param verbose: 1 tells when the phase starts and ends.
    :raises ValueError: when ``gradient_steps`` is negative, or, once the model is known, a setting is not.
    """

    def __init__(
        self,
        data: DatasetSource,
        gradient_steps: int,
        settings: Mapping[str, Any] | None = None,
        log_interval: int | None = 500,
        progress_bar: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose)
        if gradient_steps < 0:
            raise ValueError(f"gradient_steps must not be negative, got {gradient_steps}")
        self.data = data
        self.gradient_steps = gradient_steps
        self.settings = dict(settings or {})
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
        previous = change_settings(model, self.settings)
        try:
            model.learn_offline(None, n_left, log_interval=self.log_interval, progress_bar=self.progress_bar)
        finally:
            change_settings(model, previous)
            for name, value in before.items():
                setattr(model, name, value)
            model.start_time = time.time_ns()  # frames per second are those of the online phase
        self._tell("offline phase: done")

    def _on_step(self) -> bool:
        return True

    def _tell(self, message: str) -> None:
        if self.verbose > 0:
            print(message)


def change_settings(model: GAC, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Change settings of a model that has been made.

    :param model: The model.
    :param settings: Arguments of GAC among ``SETTINGS``, and ``policy_kwargs`` among ``ACTING_SETTINGS``.
    :return: What the settings were before, to change them back.
    :raises ValueError: when there is no such setting, or a value makes no sense; nothing is changed then.
    """
    of_model = {name: value for name, value in settings.items() if name != "policy_kwargs"}
    of_actor = settings.get("policy_kwargs", {})
    for owner, known, changes in (("GAC", SETTINGS, of_model), ("PlanActor", ACTING_SETTINGS, of_actor)):
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise ValueError(
                f"settings {', '.join(unknown)} of {owner} cannot hold for an offline phase only; "
                f"these can: {', '.join(known)}"
            )
    previous: dict[str, Any] = {name: getattr(model, name) for name in of_model}
    previous_of_actor = {name: getattr(model.actor, name) for name in of_actor}
    _set_attributes(model, of_model)
    _set_attributes(model.actor, of_actor)
    try:
        check_arguments(model)
        check_actor_arguments(model.actor)
    except ValueError:
        _set_attributes(model, previous)
        _set_attributes(model.actor, previous_of_actor)
        raise
    return {**previous, "policy_kwargs": previous_of_actor} if of_actor else previous


def _set_attributes(owner: GAC | PlanActor, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(owner, name, value)


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
