"""
The offline peers of GAC: algorithms of d3rlpy on the same trajectories, evaluated in the same environments.

d3rlpy pins an old Gymnasium. ``tox -e peers`` makes an environment with d3rlpy beside the Gymnasium that GAC is evaluated in.
"""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from benchmarks.bc import best_trajectories
from benchmarks.evaluation import CurveCallback
from sb3_gac.data import OfflineDataset, Trajectory

D3RLPY = "d3rlpy==2.8.1"
N_UPDATES = 100_000


@dataclass(frozen=True)
class Peer:
    """
    An algorithm of d3rlpy as it is benchmarked.

    :param label: Its name in tables.
    :param config: Name of its configuration in ``d3rlpy.algos``.
    :param information: "step" rewards, "return" for the total at the end and zeros before, or "none".
    :param best_fraction: Fraction of the transitions to learn from: those of the best trajectories.
    :param params: Settings of the configuration that are not d3rlpy's defaults.
    """

    label: str
    config: str
    information: Literal["step", "return", "none"] = "step"
    best_fraction: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)


_BC = Peer("BC (d3rlpy)", "BCConfig", information="none")
_STEP_PEERS = {
    "dt": Peer("DT", "DecisionTransformerConfig"),
    "iql": Peer("IQL", "IQLConfig"),
    # d3rlpy's own reproduction holds this dual variable still
    "cql": Peer("CQL", "CQLConfig", params={"alpha_learning_rate": 0.0}),
    "td3bc": Peer("TD3+BC", "TD3PlusBCConfig"),
    "awac": Peer("AWAC", "AWACConfig"),
    "calql": Peer("Cal-QL", "CalQLConfig"),
    "rebrac": Peer("ReBRAC", "ReBRACConfig"),
}
PEERS: dict[str, Peer] = {
    "d3rlpy-bc": _BC,
    "d3rlpy-bc10": replace(_BC, label="10 % BC (d3rlpy)", information="return", best_fraction=0.1),
    **_STEP_PEERS,
    **{
        f"{name}-return": replace(peer, label=f"{peer.label}, returns only", information="return")
        for name, peer in _STEP_PEERS.items()
    },
}
"""The peers by name."""


class PeerLearner:
    """
    A peer that is ready to learn from a data set, and acts as an SB3 algorithm does.

    :param overrides: ``n_updates``, and settings that take the place of the peer's own.
    :param horizon: Largest number of steps of an episode.
    :raises ImportError: telling how to install d3rlpy.
    :raises ValueError: when the spaces are not vectors, or a setting is not known.
    """

    def __init__(
        self,
        peer: Peer,
        overrides: Mapping[str, Any],
        dataset: OfflineDataset,
        env: DummyVecEnv,
        horizon: int,
        seed: int,
        device: str = "cpu",
    ) -> None:
        if importlib.util.find_spec("d3rlpy") is None:
            raise ImportError(
                "d3rlpy missing: it pins an old Gymnasium and needs an environment of its own, "
                f'pip install "sb3-gac[peers]" and then pip install --no-deps {D3RLPY}, or simply tox -e peers -- python ...'
            )
        import d3rlpy

        d3rlpy.seed(seed)
        params = dict(overrides)
        self.information = peer.information
        self.phases = {"offline": self.learn}
        self.n_updates = int(params.pop("n_updates", N_UPDATES))
        trajectories = visible_trajectories(peer, dataset.trajectories)
        self.algorithm = make_algorithm(peer, params, trajectories, dataset, horizon, device)
        self.buffer = make_buffer(trajectories)
        self.algorithm.build_with_dataset(self.buffer)
        self.policy: ReactivePolicy | SequencePolicy = ReactivePolicy(self.algorithm)
        if peer.config == "DecisionTransformerConfig":
            target_return = max(trajectory.total_return for trajectory in dataset.trajectories)
            self.policy = SequencePolicy(self.algorithm, env, target_return, peer.information)

    def learn(self, callback: CurveCallback) -> None:
        """Learn, with evaluations on the way."""
        import d3rlpy
        import structlog

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

        def evaluate_meanwhile(_: Any, __: int, n_updates: int) -> None:
            if callback.eval_freq > 0 and n_updates % callback.eval_freq == 0:
                callback.evaluate(n_updates)

        self.algorithm.fit(
            self.buffer,
            n_steps=self.n_updates,
            n_steps_per_epoch=self.n_updates,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
            callback=evaluate_meanwhile,
        )

    @property
    def n_parameters(self) -> int:
        """Parameters of all networks."""
        modules = [module for module in vars(self.algorithm.impl.modules).values() if isinstance(module, nn.Module)]
        return sum(parameter.numel() for module in modules for parameter in module.parameters())


def visible_trajectories(peer: Peer, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """What a peer gets to see of a data set; a recording that was cut is truncated for it as for all others."""
    if peer.best_fraction < 1:
        trajectories = best_trajectories(trajectories, peer.best_fraction)
    return list(trajectories) if peer.information == "step" else [_pay_at_end(trajectory) for trajectory in trajectories]


def _pay_at_end(trajectory: Trajectory) -> Trajectory:
    """The return on the last transition: d3rlpy leaves out the last step where a cut hides what it led to."""
    rewards = np.zeros(len(trajectory))
    rewards[-1 if trajectory.terminated or len(trajectory) == 1 else -2] = trajectory.total_return
    return replace(trajectory, rewards=rewards)


def make_algorithm(
    peer: Peer,
    params: Mapping[str, Any],
    trajectories: Sequence[Trajectory],
    dataset: OfflineDataset,
    horizon: int,
    device: str,
) -> Any:
    """
    The untrained algorithm of d3rlpy.

    Observations are standardised and actions scaled to [-1, 1]. Rewards are divided by the spread of the returns, so that
    the same settings suit all data: to values of about 100 for temporal difference learning, to returns of about 1 for
    Decision Transformers.

    :param params: Settings that take the place of the peer's own.
    :param dataset: Has the spaces, and the returns of all trajectories.
    """
    import d3rlpy
    from d3rlpy import preprocessing

    action_space = dataset.action_space
    for name, space in (("observation", dataset.observation_space), ("action", action_space)):
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"the peers need vectors, not the {name} space {space}")
    assert isinstance(action_space, spaces.Box)
    observations = np.concatenate([np.asarray(trajectory.observations) for trajectory in trajectories])
    settings: dict[str, Any] = {
        "observation_scaler": preprocessing.StandardObservationScaler(observations.mean(axis=0), observations.std(axis=0)),
        "action_scaler": preprocessing.MinMaxActionScaler(action_space.low, action_space.high),
    }
    spread = float(np.ptp([trajectory.total_return for trajectory in dataset.trajectories])) or 1.0
    if peer.config == "DecisionTransformerConfig":
        settings["reward_scaler"] = preprocessing.MultiplyRewardScaler(1.0 / spread)
        settings["max_timestep"] = max(horizon, *map(len, trajectories)) + 1
        settings["encoder_factory"] = d3rlpy.models.VectorEncoderFactory([128], exclude_last_activation=True)
    elif peer.config != "BCConfig":
        # 1,000 over the whole episode is 100 over the hundred steps that a discount of 0.99 looks ahead
        scale = 1000.0 if peer.information == "step" else 100.0
        settings["reward_scaler"] = preprocessing.MultiplyRewardScaler(scale / spread)
    config = getattr(d3rlpy.algos, peer.config)
    known = config.__dataclass_fields__
    settings |= {**peer.params, **params}
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)} of {peer.config}; known are n_updates, {', '.join(known)}")
    return config(**settings).create(device={"cuda": "cuda:0", "cpu": "cpu:0"}[device])


def make_buffer(trajectories: Sequence[Trajectory]) -> Any:
    """Trajectories as d3rlpy wants them."""
    import d3rlpy

    fields = {
        name: np.concatenate([np.asarray(getattr(trajectory, name), np.float32) for trajectory in trajectories])
        for name in ("observations", "actions", "rewards")
    }
    # One flag per step, that of the trajectory at its last one
    terminals, timeouts = np.zeros((2, len(fields["rewards"])), np.float32)
    last = np.cumsum([len(trajectory) for trajectory in trajectories]) - 1
    terminals[last] = [trajectory.terminated for trajectory in trajectories]
    timeouts[last] = 1 - terminals[last]
    space = d3rlpy.ActionSpace.CONTINUOUS
    return d3rlpy.dataset.MDPDataset(**fields, terminals=terminals, timeouts=timeouts, action_space=space)


class ReactivePolicy:
    """A policy of d3rlpy that sees one observation."""

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The best actions."""
        return self.algorithm.predict(np.asarray(observation, np.float32)), None


class SequencePolicy:
    """A Decision Transformer conditioned on a return; with returns only, no reward is subtracted from it before the end."""

    def __init__(self, algorithm: Any, env: DummyVecEnv, target_return: float, information: str) -> None:
        self.actors = [algorithm.as_stateful_wrapper(target_return) for _ in range(env.num_envs)]
        self.env = env
        self.sees_rewards = information == "step"
        self.is_playing = np.zeros(env.num_envs, dtype=bool)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The actions given the return that is left; none for environments that have ended and start no new episode."""
        self.is_playing = (self.is_playing & ~self.env.buf_dones) | episode_start
        actions = np.zeros((self.env.num_envs, *self.env.action_space.shape), dtype=np.float32)  # type: ignore[misc]
        for i in np.flatnonzero(self.is_playing):
            if episode_start[i]:
                self.actors[i].reset()
            is_paid = self.sees_rewards and not episode_start[i]
            actions[i] = self.actors[i].predict(
                np.asarray(observation[i], np.float32), float(self.env.buf_rews[i]) if is_paid else 0.0
            )
        return actions, None
