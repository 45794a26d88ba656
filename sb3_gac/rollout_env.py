"""The training environments as ``learn`` sees them."""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from copy import copy
from functools import update_wrapper
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecTransposeImage, unwrap_vec_normalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_gac.data.trajectory import LARGEST, first_unusable, observation_items

# What of a VecNormalize changes with each step; its statistics are replaced by others, never written into
_LATEST = ("old_obs", "old_reward")
_STATISTICS = ("obs_rms", "ret_rms", "returns")


class CallCounter:
    """
    Stands for a method of an object and counts its calls, whoever makes them and through whatever wrappers.

    :param method: The method.
    :param first_arguments: Count calls with one of these as first argument only; ``None`` counts all.
    """

    def __init__(self, method: Callable[..., Any], first_arguments: Container[str] | None = None) -> None:
        update_wrapper(self, method)  # signature and docstring are those of the method
        self.method = method
        self.first_arguments = first_arguments
        self.n_calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        if self.first_arguments is None or next(iter((*args, *kwargs.values())), None) in self.first_arguments:
            self.n_calls += 1
        return self.method(*args, **kwargs)


def count_calls(owner: Any, name: str, first_arguments: Container[str] | None = None) -> CallCounter:
    """
    The counter of a method, which is put in its place unless it is there already.

    :param owner: Whose method it is.
    :param name: Name of the method.
    :param first_arguments: See :class:`CallCounter`.
    """
    method = getattr(owner, name)
    if not isinstance(method, CallCounter):
        method = CallCounter(method, first_arguments)
        setattr(owner, name, method)
    return method


class RolloutEnv(VecEnvWrapper):
    """
    The training environments as ``learn`` steps them, and nobody else does.

    It refuses what cannot be learnt from, before a buffer or the statistics of a ``VecNormalize`` have taken it in. And it
    knows whether the environments still are where the last transition that was stored has left them: they are not after a
    step that was interrupted, and when others have stepped or reset them since, such as an evaluation in a callback.

    :param venv: The training environments. Calls are counted of those at the core, below all wrappers, or of the
        ``VecEnv`` where they live in other processes: what is called there by other names than ``reset`` and ``step`` is
        not seen.
    :raises ValueError: when wrappers around a ``VecNormalize`` make other observations of those it has normalised.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        core = venv.unwrapped
        if isinstance(core, DummyVecEnv):
            self._counters = [count_calls(env.unwrapped, name) for env in core.envs for name in ("reset", "step")]
        else:
            self._counters = [count_calls(core, name) for name in ("reset", "step_async")]
            self._counters.append(count_calls(core, "env_method", ("reset", "step")))
        self._normalizer = unwrap_vec_normalize(venv)
        self._transposers = [] if self._normalizer is None else _transposers(venv, self._normalizer)
        self._latest: dict[str, Any] = {}
        self._ages = np.zeros(self.num_envs, dtype=np.int64)
        # Calls after the last move of ours that a transition, or the start of an episode, is stored of; and after the move
        # that none is stored of yet
        self._known: list[int] | None = self._counts()
        self._pending: list[int] | None = None

    def _counts(self) -> list[int]:
        return [counter.n_calls for counter in self._counters]

    @property
    def is_pending(self) -> bool:
        """Whether there is a step that is not stored yet."""
        return self._pending is not None

    @property
    def is_known(self) -> bool:
        """Whether the environments are where the last step that was stored has left them."""
        return self._known == self._counts()

    @property
    def was_moved(self) -> bool:
        """Whether others have stepped or reset the environments since."""
        return self._known is not None and not self.is_known

    def forget(self) -> None:
        """The episodes under way will not be gone on with, nor what was last returned be stored."""
        self._known = self._pending = None

    def store(self) -> None:
        """What the last step or reset has returned is stored now."""
        self._known, self._pending = self._pending, None

    def restore_latest(self) -> None:
        """Let a ``VecNormalize`` remember what it returned to ``learn`` last, not to those who have used it since."""
        if self._normalizer is not None:
            vars(self._normalizer).update(self._latest)

    def original_obs(self, observations: VecEnvObs) -> VecEnvObs:
        """
        Observations as a buffer keeps them: as a ``VecNormalize`` has found them, with channels where the model has them.

        :param observations: What the last step or reset has returned.
        """
        if self._normalizer is None:
            return observations
        original: Any = self._normalizer.get_original_obs()
        for transposer in self._transposers:
            original = transposer.transpose_observations(original)
        observations = original
        return observations

    def reset(self) -> VecEnvObs:
        """
        Begin new episodes.

        :raises ValueError: when an observation is no number, or too large a one.
        """
        self.forget()
        with self.keep_statistics():
            observations = self.venv.reset()
            self.check_reset(observations)
        return observations

    def check_reset(self, observations: VecEnvObs) -> None:
        """
        Take note of a reset.

        :param observations: What it has returned.
        :raises ValueError: when an observation is no number, or too large a one.
        """
        self._ages[:] = 0
        self._check_observations(observations)
        self._pending = self._counts()

    def check_actions(self, actions: np.ndarray) -> None:
        """
        Refuse actions that are not finite.

        :param actions: Actions for the next step, in env units.
        :raises ValueError: when one is not, before an environment has seen it.
        """
        self._check("action", actions, self._ages + 1, np.inf)

    def step_async(self, actions: np.ndarray) -> None:
        """
        Take a step.

        :param actions: Actions in env units.
        :raises ValueError: when one is not finite.
        """
        self.check_actions(actions)
        self.forget()
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """
        What the step leads to.

        :raises ValueError: when an observation or a reward is no number, or too large a one.
        """
        with self.keep_statistics():
            observations, rewards, dones, infos = self.venv.step_wait()
            self._ages += 1
            self._check("reward", rewards if self._normalizer is None else self._normalizer.old_reward, self._ages)
            self._check_observations(observations)
        if self._normalizer is not None:
            self._latest = {name: getattr(self._normalizer, name) for name in _LATEST}
        self._ages[dones] = 0
        self._pending = self._counts()
        return observations, rewards, dones, infos

    @contextmanager
    def keep_statistics(self) -> Iterator[None]:
        """Statistics of a ``VecNormalize`` become again what they were, when there is an error inside."""
        state = {} if self._normalizer is None else vars(self._normalizer)
        saved = {name: _copy(state[name]) for name in _STATISTICS if name in state}
        try:
            yield
        except BaseException:
            state.update(saved)
            raise

    def _check_observations(self, observations: VecEnvObs) -> None:
        assert isinstance(observations, np.ndarray | dict)
        raw = observations if self._normalizer is None else self._normalizer.old_obs
        for name, array in observation_items(raw):
            self._check(name.replace("observations", "observation"), array, self._ages)

    def _check(self, name: str, array: np.ndarray, steps: np.ndarray, limit: float = LARGEST) -> None:
        if (index := first_unusable(array, limit)) is not None:
            fault = f"larger than {limit:g}" if np.isfinite(array[index]).all() else "not finite"
            raise ValueError(
                f"the {name} of environment {index} at step {steps[index]} of its episode is {fault}: {array[index]}"
            )


def _transposers(venv: VecEnv, normalizer: VecEnv) -> list[VecTransposeImage]:
    """What moves the channels of images above a ``VecNormalize``, from the inside out."""
    transposers: list[VecTransposeImage] = []
    while venv is not normalizer:
        assert isinstance(venv, VecEnvWrapper)
        if isinstance(venv, VecTransposeImage):
            transposers.insert(0, venv)
        elif venv.observation_space != venv.venv.observation_space:
            raise ValueError(
                f"{type(venv).__name__} makes other observations of those that VecNormalize has normalised, so that nobody "
                "knows what they were before: put the VecNormalize around it"
            )
        venv = venv.venv
    return transposers


def _copy(statistics: Any) -> Any:
    """Another object, or another dict of others, with the same arrays."""
    return {key: copy(part) for key, part in statistics.items()} if isinstance(statistics, dict) else copy(statistics)
