"""The peers of GAC: which of d3rlpy's algorithms, with what settings, and what they are told of the rewards."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from benchmarks.bc import best_trajectories
from sb3_gac.data import OfflineDataset, Trajectory

D3RLPY = "d3rlpy==2.8.1"


@dataclass(frozen=True)
class Peer:
    """
    An algorithm of d3rlpy as it is benchmarked.

    :param label: its name in tables.
    :param config: name of its configuration in ``d3rlpy.algos``.
    :param information: "step" rewards, "return" for the total at the last step and zeros before, or "none".
    :param best_fraction: share of the transitions to learn from: those of the best trajectories.
    :param n_updates: gradient steps.
    :param params: settings of the configuration that are not d3rlpy's defaults.
    """

    label: str
    config: str
    information: Literal["step", "return", "none"] = "step"
    best_fraction: float = 1.0
    n_updates: int = 20_000
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_sequence_model(self) -> bool:
        """Whether it is asked for a return and sees what went before."""
        return self.config == "DecisionTransformerConfig"


def _return_only(peer: Peer, **params: Any) -> Peer:
    """The same algorithm where the total return is all it is told."""
    return replace(peer, label=f"{peer.label}, return-only", information="return", params={**peer.params, **params})


# The numbers of updates are those of a few minutes on one CPU core; papers have 100,000 (DT) to 1,000,000.
_BC = Peer("BC (d3rlpy)", "BCConfig", information="none")
# A step of it takes a quarter of a second: few steps need larger ones
_DT = Peer("DT", "DecisionTransformerConfig", n_updates=1_000, params={"learning_rate": 1e-3})
_IQL = Peer("IQL", "IQLConfig", n_updates=10_000)
# d3rlpy's own reproduction holds this dual variable still
_CQL = Peer("CQL", "CQLConfig", n_updates=5_000, params={"alpha_learning_rate": 0.0})

# A return paid at the end and discounted would be worth more the sooner the episode ends
UNDISCOUNTED = {"gamma": 1.0}

PEERS: dict[str, Peer] = {
    "d3rlpy-bc": _BC,
    "d3rlpy-bc10": replace(_BC, label="10 % BC (d3rlpy)", information="return", best_fraction=0.1),
    "dt": _DT,
    "dt-return": _return_only(_DT),
    "iql": _IQL,
    "iql-return": _return_only(_IQL, **UNDISCOUNTED),
    "cql": _CQL,
    "cql-return": _return_only(_CQL, **UNDISCOUNTED),
    "td3bc": Peer("TD3+BC", "TD3PlusBCConfig", n_updates=10_000),
    "awac": Peer("AWAC", "AWACConfig", n_updates=5_000),
    "calql": Peer("Cal-QL", "CalQLConfig", n_updates=5_000),
}
"""The peers by name."""


def require_d3rlpy() -> None:
    """
    Complain now when d3rlpy is missing.

    :raises ImportError: telling how to install it.
    """
    if importlib.util.find_spec("d3rlpy") is None:
        raise ImportError(
            "d3rlpy missing: it pins an old Gymnasium and needs an environment of its own, "
            f'pip install "sb3-gac[peers]" and then pip install --no-deps {D3RLPY}, or simply tox -e peers -- python ...'
        )


def visible_trajectories(peer: Peer, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """
    What the peer gets to see of a data set.

    With returns only, every trajectory ends for good with the payment of its return: of one that was cut, temporal
    difference learning would drop the last step and all of its return with it.

    :param peer: a peer.
    :param trajectories: a data set.
    """
    if peer.best_fraction < 1:
        trajectories = best_trajectories(trajectories, peer.best_fraction)
    if peer.information == "step":
        return list(trajectories)
    return [replace(trajectory.return_only(), terminated=True, truncated=False) for trajectory in trajectories]


def make_algorithm(peer: Peer, params: Mapping[str, Any], dataset: OfflineDataset, horizon: int, device: str) -> Any:
    """
    The untrained algorithm of d3rlpy.

    Observations are standardised and actions scaled to [-1, 1]. Rewards are divided by the spread of the returns, so that
    the same settings suit all data: to values of about 100 for temporal difference learning, to returns of about 1 for the
    others.

    :param peer: a peer.
    :param params: settings that take the place of the peer's own.
    :param dataset: what it will learn from.
    :param horizon: largest number of steps of an episode.
    :param device: as in PyTorch.
    :raises ValueError: when the spaces are not vectors, or a setting is not known.
    """
    import d3rlpy
    from d3rlpy import preprocessing

    action_space = dataset.action_space
    for name, space in (("observation", dataset.observation_space), ("action", action_space)):
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"the peers need vectors, not the {name} space {space}")
    assert isinstance(action_space, spaces.Box)
    observations = np.concatenate([np.asarray(trajectory.observations) for trajectory in dataset.trajectories])
    settings: dict[str, Any] = {
        "observation_scaler": preprocessing.StandardObservationScaler(observations.mean(axis=0), observations.std(axis=0)),
        "action_scaler": preprocessing.MinMaxActionScaler(action_space.low, action_space.high),
    }
    spread = float(np.ptp([trajectory.total_return for trajectory in dataset.trajectories])) or 1.0
    if peer.is_sequence_model:
        settings["reward_scaler"] = preprocessing.MultiplyRewardScaler(1.0 / spread)
        settings["max_timestep"] = max(horizon, *map(len, dataset.trajectories)) + 1
        settings["encoder_factory"] = d3rlpy.models.VectorEncoderFactory([128], exclude_last_activation=True)
    elif peer.information == "step":
        # 1,000 over the whole episode is 100 over the hundred steps that a discount of 0.99 looks ahead
        settings["reward_scaler"] = preprocessing.MultiplyRewardScaler(1000.0 / spread)
    elif peer.information == "return":
        settings["reward_scaler"] = preprocessing.MultiplyRewardScaler(100.0 / spread)
    config = getattr(d3rlpy.algos, peer.config)
    known = config.__dataclass_fields__
    settings |= {**peer.params, **params}
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)} of {peer.config}; known are n_updates, {', '.join(known)}")
    return config(**settings).create(device=device)


def make_buffer(trajectories: Sequence[Trajectory]) -> Any:
    """
    Trajectories as d3rlpy wants them.

    :param trajectories: at least one.
    """
    import d3rlpy

    def flags(values: list[bool]) -> Any:
        """One flag per step, that of the trajectory at its last one."""
        steps = np.zeros(sum(map(len, trajectories)), dtype=np.float32)
        steps[np.cumsum([len(trajectory) for trajectory in trajectories]) - 1] = values
        return steps

    return d3rlpy.dataset.MDPDataset(
        observations=np.concatenate([np.asarray(trajectory.observations, np.float32) for trajectory in trajectories]),
        actions=np.concatenate([np.asarray(trajectory.actions, np.float32) for trajectory in trajectories]),
        rewards=np.concatenate([np.asarray(trajectory.rewards, np.float32) for trajectory in trajectories]),
        terminals=flags([trajectory.terminated for trajectory in trajectories]),
        timeouts=flags([not trajectory.terminated for trajectory in trajectories]),
        action_space=d3rlpy.ActionSpace.CONTINUOUS,
    )


class LastStepVecEnv(VecEnvWrapper):
    """
    Remembers the rewards and ends of the last step, which ``predict`` is not told but a Decision Transformer needs.

    :param venv: the environments.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.rewards = np.zeros(venv.num_envs)
        self.dones = np.zeros(venv.num_envs, dtype=bool)

    def reset(self) -> VecEnvObs:
        self.rewards[:], self.dones[:] = 0.0, False
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        observations, self.rewards, self.dones, infos = self.venv.step_wait()
        return observations, self.rewards, self.dones, infos


class ReactivePolicy:
    """
    A policy of d3rlpy that sees one observation, to be evaluated as SB3's are.

    :param algorithm: the algorithm of d3rlpy.
    """

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The best actions."""
        return self.algorithm.predict(np.asarray(observation, np.float32)), None


class SequencePolicy:
    """
    A Decision Transformer that is asked for a return, to be evaluated as SB3's policies are.

    :param algorithm: the algorithm of d3rlpy.
    :param env: where it acts.
    :param target_return: return to ask for, in env units.
    :param information: of a peer that knows returns only, none of the return asked for is paid before the end.
    """

    def __init__(self, algorithm: Any, env: LastStepVecEnv, target_return: float, information: str) -> None:
        self.actors = [algorithm.as_stateful_wrapper(target_return) for _ in range(env.num_envs)]
        self.env = env
        self.sees_rewards = information == "step"
        self.is_playing = np.zeros(env.num_envs, dtype=bool)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The actions given the return that is left; none for environments that have ended and start no new episode."""
        self.is_playing = (self.is_playing & ~self.env.dones) | episode_start
        actions = np.zeros((self.env.num_envs, *self.env.action_space.shape), dtype=np.float32)  # type: ignore[misc]
        for i in np.flatnonzero(self.is_playing):
            if episode_start[i]:
                self.actors[i].reset()
            is_paid = self.sees_rewards and not episode_start[i]
            actions[i] = self.actors[i].predict(
                np.asarray(observation[i], np.float32), float(self.env.rewards[i]) if is_paid else 0.0
            )
        return actions, None
