"""When and how plans are made, held and renewed."""

import math
from typing import Any, ClassVar

import numpy as np
import torch as th
from torch import nn

from sb3_gac.arguments import check_at_least
from sb3_gac.inference.exploit import N_AVERAGED, exploit_plan
from sb3_gac.inference.explore import explore_plan
from sb3_gac.networks import ReturnPredictor, TrajectoryModel
from sb3_gac.type_aliases import Array

# Candidates of all environments that are looked at together: each takes about ten kilobytes
CANDIDATES_AT_ONCE = 2**14
TARGET_ADVANTAGE = 1.0  # standard deviations that exploration seeks: a target that moves with the values


class Planner(nn.Module):
    """
    Plans for many environments: the best of fixed candidates to exploit, samples given a target to explore.

    Another planner is a subclass with another :meth:`exploit` or :meth:`explore`, and a name in
    ``sb3_gac.inference.PLANNERS``; what it may be told besides are arguments of its own.

    :param noise_dim: Size of the noise that a plan is made of, see :class:`~sb3_gac.networks.PlanPrior`.
    :param plan_horizon: Steps that a plan is made for; ``None``: the whole trajectory.
    :param n_candidates: Prior plans compared when a plan is made.
    :param exploit_steps: Gradient steps on the best candidates when exploiting.
    :param explore_steps: Langevin steps when exploring.
    :param replan_freq: Steps after which a policy that exploits makes its plan anew, at most ``plan_horizon``. Exploration
        follows a plan for its horizon; plans of whole trajectories are never renewed.
    """

    # Arguments that are looked at whenever a plan is made or renewed, as evaluations on the way do
    settings: ClassVar[tuple[str, ...]] = ("exploit_steps", "explore_steps", "replan_freq")

    target_return: th.Tensor
    candidate_noise: th.Tensor

    def __init__(
        self,
        noise_dim: int,
        plan_horizon: int | None,
        n_candidates: int = 32,
        exploit_steps: int = 0,
        explore_steps: int = 0,
        replan_freq: int = 5,
    ) -> None:
        super().__init__()
        self.plan_horizon = plan_horizon
        self.n_candidates = n_candidates
        self.exploit_steps = exploit_steps
        self.explore_steps = explore_steps
        self.replan_freq = replan_freq
        check_at_least(self, n_candidates=1, exploit_steps=0, explore_steps=0, replan_freq=1)
        self._made_with = {name: getattr(self, name) for name in self.settings}
        self.register_buffer("target_return", th.zeros(()))
        # Exploitation is deterministic: its candidates are fixed, evenly spread normal noise, the mean plan first
        uniform = th.quasirandom.SobolEngine(noise_dim, scramble=True, seed=0).draw(n_candidates)
        noise = math.sqrt(2) * th.erfinv(2 * uniform.clamp(1e-4, 1 - 1e-4) - 1)  # on the CPU, also where the networks are not
        noise[0] = 0.0
        self.register_buffer("candidate_noise", noise, persistent=False)

    def changed_settings(self) -> dict[str, Any]:
        """Arguments that plans are made and renewed with, where they have been changed since the planner was made."""
        settings = {name: getattr(self, name) for name in self.settings}
        return {name: value for name, value in settings.items() if value != self._made_with[name]}

    def plan(
        self, model: TrajectoryModel, first_features: th.Tensor, deterministic: bool, target_return: th.Tensor | None = None
    ) -> th.Tensor:
        """
        One plan per environment, of shape ``(n_envs, plan_dim)``.

        Few are planned for at once: memory does not grow with their number.

        :param model: The generative model.
        :param first_features: Features of the observations to plan from, of shape ``(n_envs, features_dim)``.
        :param deterministic: Whether to exploit or to explore.
        :param target_return: Return asked for in env units, of shape ``(n_envs,)``. By default the largest when exploiting;
            when exploring an advantage of one standard deviation, of whole trajectories the moving target.
        """
        n_at_once = max(CANDIDATES_AT_ONCE // self.n_candidates, 1)
        if len(first_features) <= n_at_once:
            return self._plan(model, first_features, target_return, deterministic)
        features = first_features.split(n_at_once)
        targets = [None] * len(features) if target_return is None else target_return.split(n_at_once)
        return th.cat([self._plan(model, *part, deterministic) for part in zip(features, targets, strict=True)])

    def _plan(
        self, model: TrajectoryModel, first_features: th.Tensor, target_return: th.Tensor | None, deterministic: bool
    ) -> th.Tensor:
        if deterministic:
            return self.exploit(model, first_features, target_return)
        predictor, target = model.return_predictor, target_return
        if target is None:
            predictor = model.critic
            target = (
                self.target_return if model.advantage_predictor is None else th.full_like(self.target_return, TARGET_ADVANTAGE)
            )
            target = target.expand(len(first_features))
        return self.explore(model, predictor, first_features, target)

    def exploit(self, model: TrajectoryModel, first_features: th.Tensor, target_return: th.Tensor | None = None) -> th.Tensor:
        """
        The best plan of each environment, of shape ``(n_envs, plan_dim)``, without random numbers.

        :param model: The generative model.
        :param first_features: Features of the observations to plan from, of shape ``(n_envs, features_dim)``.
        :param target_return: Return asked for in env units, of shape ``(n_envs,)``; ``None`` for the largest.
        """
        return exploit_plan(model, first_features, self.candidate_noise, N_AVERAGED, self.exploit_steps, target_return)

    def explore(
        self, model: TrajectoryModel, predictor: ReturnPredictor, first_features: th.Tensor, target: th.Tensor
    ) -> th.Tensor:
        """
        A plan of each environment that may reach a target, of shape ``(n_envs, plan_dim)``.

        :param model: The generative model.
        :param predictor: Its predictor of returns, or of advantages.
        :param first_features: Features of the observations to plan from, of shape ``(n_envs, features_dim)``.
        :param target: What each environment seeks, in units of what is predicted, of shape ``(n_envs,)``.
        """
        return explore_plan(model, predictor, first_features, target, self.n_candidates, self.explore_steps)

    def is_due(self, ages: Array, deterministic: bool) -> Array:
        """
        Whether plans have been followed for their time, of shape ``(n_envs,)``.

        :param ages: Number of actions taken with each plan, of shape ``(n_envs,)``.
        :param deterministic: Whether the policy exploits.
        """
        if self.plan_horizon is None:
            return np.zeros(len(ages), dtype=bool)
        is_due: Array = ages >= (min(self.replan_freq, self.plan_horizon) if deterministic else self.plan_horizon)
        return is_due
