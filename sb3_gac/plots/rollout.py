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
    A model that follows a plan sampled from the prior to the end of the episode.

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
        policy = self.model.policy
        if state is None or episode_start is None or episode_start.any():
            sampled = self._sample(observation)
            starts = np.ones(len(sampled), dtype=bool) if state is None or episode_start is None else episode_start
            plans, ages = (sampled, np.zeros(len(sampled), np.int64)) if state is None else state
            state = PlanState(np.where(starts[:, None], sampled, plans), np.where(starts, 0, ages))
        # Where there is a target return plans are followed to the end; whatever it is, none is made for it
        return policy.predict(observation, state, None, deterministic, target_return=0.0)

    def _sample(self, observation: Array | dict[str, Array]) -> Array:
        actor = self.model.policy.actor
        actor.set_training_mode(False)
        with th.no_grad():
            features = actor.extract_features(actor.obs_to_tensor(observation)[0])
            prior = actor.model.plan_prior(features)
            plans: Array = prior.at(th.randn_like(prior.mean)).cpu().numpy()
        return plans


def roll_out(
    model: GAC, envs: Sequence[gym.Env[Any, Any]], n_steps: int, kind: Kind, seed: int = 0, n_plans: int = 1
) -> list[Trajectory]:
    """
    Follow plans in each environment, each for an episode from the same start.

    :param model: The model.
    :param envs: Copies of the environment.
    :param n_steps: Most steps of an episode.
    :param kind: ``"prior"`` keeps a plan sampled from the prior, ``"exploit"`` and ``"explore"`` act as ``predict`` does.
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
