"""Episodes of a model in an environment: what it returns, and what comes of a target return."""

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_gac.data.rollout import rollout_trajectories
from sb3_gac.data.trajectory import Trajectory
from sb3_gac.gac import GAC
from sb3_gac.networks import TrajectoryModel
from sb3_gac.policies import LatentPlanPolicy
from sb3_gac.random_state import fork_random_state
from sb3_gac.type_aliases import Array

N_TARGETS = 7


def play(
    model: BaseAlgorithm,
    env: GymEnv,
    n_episodes: int,
    seed: int = 0,
    deterministic: bool = True,
    policy: PolicyPredictor | None = None,
    plan_seed: int | None = None,
    on_step: Callable[[VecEnv, Array], None] | None = None,
) -> list[Trajectory]:
    """
    Play whole episodes as the model knows the environment; learning goes on afterwards as if nobody had.

    :param model: The model, of any algorithm of SB3.
    :param env: The env, or several in a VecEnv. Where the model learns in a ``VecNormalize``, observations are normalised by
        its statistics, which do not move. The env that the model learns in is given as ``model.get_env()``, and begins new
        episodes afterwards.
    :param n_episodes: Number of episodes, at least 1.
    :param seed: Seed of the environments.
    :param deterministic: Whether to exploit or to explore.
    :param policy: What acts; the model by default.
    :param plan_seed: Seed of what the policy samples; that of the environments by default.
    :param on_step: See :func:`~sb3_gac.data.rollout.rollout_trajectories`.
    :return: The trajectories, with observations and rewards as they are before normalisation.
    """
    vec_env = _as_known(model, env)
    normalizer = unwrap_vec_normalize(vec_env)
    was_training = normalizer is not None and normalizer.training
    try:
        if normalizer is not None:
            normalizer.training = False
        with fork_random_state(seed if plan_seed is None else plan_seed, model.device):
            vec_env.seed(seed)
            return rollout_trajectories(
                model if policy is None else policy, vec_env, n_episodes, deterministic=deterministic, on_step=on_step
            )
    finally:
        if normalizer is not None:
            normalizer.training = was_training
        if vec_env is model.env:  # its episodes under way have been played to an end
            model.set_env(vec_env)


def _as_known(model: BaseAlgorithm, env: GymEnv) -> VecEnv:
    """The environments with the wrappers that the model learns through."""
    vec_env: VecEnv = model._wrap_env(env, verbose=0)
    known = model.get_vec_normalize_env()
    if known is None or unwrap_vec_normalize(vec_env) is not None:
        return vec_env
    frozen = deepcopy(known)  # without its environments
    frozen.training = False
    frozen.set_venv(vec_env)
    return frozen


class TargetReturnPolicy:
    """
    A model conditioned on one target return: give it to whatever calls ``predict``, such as ``evaluate_policy``.

    :param model: The model.
    :param target_return: Target return in env units.
    """

    def __init__(self, model: GAC, target_return: float) -> None:
        self.model = model
        self.target_return = target_return

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """See :meth:`LatentPlanPolicy.predict <sb3_gac.policies.LatentPlanPolicy.predict>`."""
        return self.model.policy.predict(observation, state, episode_start, deterministic, self.target_return)


def follow_prior(policy: LatentPlanPolicy, is_random: bool) -> LatentPlanPolicy:
    """
    The same model with other plans than the best ones: what searching them is worth.

    :param policy: The policy as it acts; left as it is, also where the settings of the other's planner are changed.
    :param is_random: Whether plans are sampled from the prior, instead of its mean.
    """

    def plan(
        model: TrajectoryModel, first_features: th.Tensor, deterministic: bool, target_return: th.Tensor | None = None
    ) -> th.Tensor:
        draw = th.randn if is_random else th.zeros
        noise = draw(len(first_features), model.prior.noise_dim, device=first_features.device)
        return model.plan_prior(first_features).at(noise)

    follower, planner = copy(policy), copy(policy.planner)
    planner.plan = plan  # type: ignore[method-assign]
    follower._modules = policy._modules | {"planner": planner}  # a shallow copy shares them
    return follower


@dataclass(frozen=True)
class TargetReturnResult:
    """
    Target returns, and those that episodes then had.

    :param targets: In env units, of shape ``(n_targets,)``.
    :param returns: In env units, of shape ``(n_targets, n_episodes)``.
    :param known: Lowest and highest return of the trajectories that the model has; ``None`` when it has none.
    """

    targets: np.ndarray
    returns: np.ndarray
    known: tuple[float, float] | None = None


def evaluate_target_returns(
    model: GAC,
    env: GymEnv,
    target_returns: Any = None,
    n_episodes: int = 5,
    deterministic: bool = True,
    seed: int = 0,
) -> TargetReturnResult:
    """
    Play episodes with one target return after the other, from the same starts.

    :param model: The model.
    :param env: See :func:`play`.
    :param target_returns: Target returns in env units, of shape ``(n_targets,)``; by default seven from the lowest to the
        highest that the model has seen.
    :param n_episodes: Episodes for each of them.
    :param deterministic: Whether to follow the plan that fits best, or one sampled among those that fit.
    :param seed: Seed of the environments and of the samples; the random numbers of learning are left alone.
    :raises ValueError: when the model has no trajectories and no returns are given.
    """
    known = known_returns(model)
    if target_returns is None:
        if known is None:
            raise ValueError("this model has no trajectories to take the returns from: give target_returns")
        target_returns = np.linspace(*known, N_TARGETS)
    targets = np.asarray(target_returns, dtype=np.float64).reshape(-1)
    if len(targets) == 0:
        raise ValueError("target_returns are empty, expected at least one return")
    returns = [
        [
            trajectory.total_return
            for trajectory in play(model, env, n_episodes, seed, deterministic, TargetReturnPolicy(model, float(target)))
        ]
        for target in targets
    ]
    return TargetReturnResult(targets, np.array(returns), known)


def known_returns(model: GAC) -> tuple[float, float] | None:
    """
    Lowest and highest return of the trajectories that a model has, in its data set and its replay buffer.

    :param model: The model.
    :return: ``None`` when it has none.
    """
    buffers = [buffer for buffer in (model.offline_buffer, model.replay_buffer) if buffer is not None]
    returns = np.concatenate([buffer.returns for buffer in buffers]) if buffers else np.zeros(0)
    return (float(returns.min()), float(returns.max())) if len(returns) else None
