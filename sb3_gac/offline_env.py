"""What stands in for an environment while a model learns from a data set alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import ProgressBarCallback
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn


class OfflineVecEnv(VecEnv):
    """
    One environment with the spaces of a data set that cannot be stepped, for callbacks that ask for the training env.

    :param observation_space: Observation space of the data set.
    :param action_space: Action space of the data set.
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.render_mode = None
        super().__init__(1, observation_space, action_space)

    def reset(self) -> VecEnvObs:
        sample = self.observation_space.sample()
        if isinstance(sample, dict):
            return {key: np.expand_dims(part, 0) for key, part in sample.items()}
        return np.expand_dims(sample, 0)

    def step_async(self, actions: np.ndarray) -> None:
        pass  # step_wait() refuses

    def step_wait(self) -> VecEnvStepReturn:
        raise RuntimeError("this model knows a data set but no environment: give it one with set_env() before stepping")

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self, attr_name)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        return [getattr(self, method_name)(*method_args, **method_kwargs)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        return [False]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        return [seed]


class OfflineProgressBarCallback(ProgressBarCallback):
    """Progress bar of a run without rollouts, where a gradient step is one timestep whatever the number of environments."""

    def _on_step(self) -> bool:
        self.pbar.update(1)
        return True
