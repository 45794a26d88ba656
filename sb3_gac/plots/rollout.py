"""Where plans lead."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac.data.trajectory import Trajectory
from sb3_gac.evaluation import play
from sb3_gac.gac import GAC
from sb3_gac.type_aliases import Array, PlanState

Kind: TypeAlias = Literal["prior", "exploit", "explore"]


class PriorPolicy:
    """
    A model that follows plans sampled from the prior, each for its horizon.

    :param model: The model.
    """

    def __init__(self, model: GAC) -> None:
        self.model = model

    def predict(
        self,
        observation: Array | dict[str, Array],
        state: tuple[Array, ...] | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, tuple[Array, ...] | None]:
        """
        See :meth:`PlanActor.predict <sb3_gac.actor.PlanActor.predict>`.

        :param observation: A batch of observations.
        :param state: What the last call returned; ``None`` at the start.
        :param episode_start: Whether each environment has just been reset, of shape ``(n_envs,)``.
        :param deterministic: Whether actions are the likeliest ones.
        """
        actor = self.model.policy.actor
        actor.set_training_mode(False)
        obs = actor.obs_to_tensor(observation)[0]
        with th.no_grad():
            prior = actor.model.plan_prior(actor.extract_features(obs))
            plans, ages = prior.at(th.randn_like(prior.mean)), np.zeros(len(prior.mean), np.int64)
            if state is not None and episode_start is not None:
                is_due = episode_start if actor.plan_horizon is None else episode_start | (state[1] >= actor.plan_horizon)
                ages = np.where(is_due, 0, state[1])
                plans = th.where(th.as_tensor(is_due).unsqueeze(1).to(plans.device), plans, th.as_tensor(state[0]).to(plans))
            buffer_actions = actor(obs, plans, th.as_tensor(ages, device=plans.device), deterministic).cpu().numpy()
        return actor.unscale_action(buffer_actions), PlanState(plans.cpu().numpy(), ages + 1)


def roll_out(
    model: GAC, envs: Sequence[gym.Env[Any, Any]], n_steps: int, kind: Kind, seed: int = 0, n_plans: int = 1
) -> list[Trajectory]:
    """
    Follow plans in each environment, each for an episode from the same start.

    :param model: The model.
    :param envs: Copies of the environment.
    :param n_steps: Most steps of an episode.
    :param kind: ``"prior"`` follows plans sampled from the prior, ``"exploit"`` and ``"explore"`` act as ``predict`` does.
    :param seed: Seed of the starts and of the samples: the same one gives the same starts. The random numbers of learning
        are left alone.
    :param n_plans: Plans followed one after the other in each environment.
    :return: The trajectories, plan by plan, in the order in which they ended.
    """
    vec_env = DummyVecEnv([lambda env=env: TimeLimit(env, n_steps) for env in envs])  # type: ignore[misc]
    policy = PriorPolicy(model) if kind == "prior" else None
    is_deterministic = kind != "explore"
    return [
        trajectory
        for plan in range(n_plans)
        for trajectory in play(model, vec_env, len(envs), seed, is_deterministic, policy, plan_seed=seed + plan)
    ]
