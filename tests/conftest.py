"""Small environments, data sets and models that the tests of the algorithm share."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac import GAC, gac
from sb3_gac.credit import advantage
from sb3_gac.credit.assignment import Effort
from sb3_gac.data import OfflineDataset, Trajectory

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
ACTION = spaces.Box(-2.0, 2.0, (2,), np.float32)

# A gradient step takes a millisecond; nothing here learns anything of use, values and rewards neither.
FEW_UPDATES = dict(ONLINE=Effort(1, 4, 4), OFFLINE=Effort(2, 8, 8))
SMALL: dict[str, Any] = dict(batch_size=4, learning_starts=5, train_freq=1, gradient_steps=1, seed=0, device="cpu")


class DiaryEnv(gym.Env[Any, Any]):
    """
    Random observations, and a diary of all that happened; the reward is the number of the step: 1, 2, 3, ...

    :param length: steps of an episode
    :param terminates: whether it ends in a terminal state or is cut there
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any] = BOX,
        action_space: spaces.Space[Any] = ACTION,
        length: int = 5,
        terminates: bool = True,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.length, self.terminates = length, terminates
        self.n_steps = self.n_resets = 0
        self.observations: list[Any] = []
        self.actions: list[Any] = []

    def observe(self) -> Any:
        self.observations.append(self.observation_space.sample())
        return self.observations[-1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.n_steps, self.n_resets = 0, self.n_resets + 1
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.actions.append(action)
        self.n_steps += 1
        ended = self.n_steps == self.length
        return self.observe(), float(self.n_steps), ended and self.terminates, ended and not self.terminates, {}


@pytest.fixture
def diary_env() -> type[DiaryEnv]:
    return DiaryEnv


@pytest.fixture
def few_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and rewards take but a moment."""
    for name, effort in FEW_UPDATES.items():
        monkeypatch.setattr(gac, name, effort)
    monkeypatch.setattr(advantage, "MIN_UPDATES", 4)


@pytest.fixture
def small_gac(few_updates: None) -> Callable[..., GAC]:
    """A model with networks of 16 units that learns from next to nothing."""

    def make(env: Any = None, policy: str = "MlpLatentPolicy", **kwargs: Any) -> GAC:
        policy_kwargs = dict(net_arch=[16], n_candidates=8) | kwargs.pop("policy_kwargs", {})
        return GAC(policy, env, policy_kwargs=policy_kwargs, **(SMALL | kwargs))

    return make


@pytest.fixture
def make_dataset() -> Callable[..., OfflineDataset]:
    """Trajectories of random steps in a pair of spaces, the reward of the i-th being i at each step."""

    def make(
        observation_space: spaces.Space[Any] = BOX, action_space: spaces.Space[Any] = ACTION, n: int = 6, length: int = 5
    ) -> OfflineDataset:
        def steps(space: spaces.Space[Any]) -> Any:
            if isinstance(space, spaces.Dict):
                return {key: steps(part) for key, part in space.spaces.items()}
            return np.stack([space.sample() for _ in range(length)])

        trajectories = [
            Trajectory(steps(observation_space), steps(action_space), np.full(length, float(i)), True, False) for i in range(n)
        ]
        return OfflineDataset(trajectories, observation_space, action_space, "random steps")

    return make
