"""The actor: the generative model, and the inference of plans on it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, get_actor_critic_arch
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_gac.arguments import check_actor_arguments
from sb3_gac.inference import exploit_plan, explore_plan
from sb3_gac.networks import (
    FilmDecoder,
    ObservationStandardizer,
    PlanPrior,
    ReturnPredictor,
    TrajectoryModel,
)
from sb3_gac.scaling import scale_actions, unscale_actions
from sb3_gac.type_aliases import NetArch, PlanState, TensorObs

MIN_RETURN_SPREAD = 1e-6  # as a fraction of their size: what differs less is rounding
TARGET_ADVANTAGE = 1.0  # standard deviations that exploration seeks: a target that moves with the values
# Candidates of all environments that are looked at together: each takes about ten kilobytes
CANDIDATES_AT_ONCE = 2**14
EPISODE_CLOCK = 100  # steps at which the clock of a plan of a whole episode stands halfway
# Arguments that are looked at whenever a plan is made or followed, as evaluations on the way do
ACTING_SETTINGS = ("n_averaged", "exploit_steps", "explore_steps", "replan_freq")


class PlanActor(BasePolicy):
    """
    The generative model and the inference on it: all that acting needs.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param net_arch: Hidden layers of all networks; ``dict(pi=..., qf=...)`` gives the return predictor others.
    :param activation_fn: Activation of all networks.
    :param features_extractor_class: Features extractor, shared by all networks.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Whether to divide images by 255.
    :param plan_dim: Size of a plan.
    :param plan_horizon: Steps that a plan is made for, from any step on; ``None``: the whole trajectory, as in the paper.
    :param n_critics: Members of the ensemble of the return predictor, which is the critic of GAC.
    :param n_candidates: Prior plans compared when a plan is made.
    :param n_averaged: Best candidates averaged into the plan when exploiting; 1 follows the best one.
    :param exploit_steps: Gradient steps on the best candidates when exploiting.
    :param explore_steps: Langevin steps when exploring.
    :param replan_freq: Steps after which a policy that exploits makes its plan anew, at most ``plan_horizon``. Exploration
        follows a plan for its horizon; plans of whole trajectories are never renewed.
    """

    target_return: th.Tensor
    candidate_noise: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        net_arch: NetArch,
        activation_fn: type[nn.Module],
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        plan_dim: int = 16,
        plan_horizon: int | None = 20,
        n_critics: int = 5,
        n_candidates: int = 256,
        n_averaged: int = 16,
        exploit_steps: int = 0,
        explore_steps: int = 0,
        replan_freq: int = 5,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            squash_output=isinstance(action_space, spaces.Box),
        )
        self.net_arch = net_arch
        self.activation_fn = activation_fn
        self.plan_dim = plan_dim
        self.plan_horizon = plan_horizon
        self.n_critics = n_critics
        self.n_candidates = n_candidates
        self.n_averaged = n_averaged
        self.exploit_steps = exploit_steps
        self.explore_steps = explore_steps
        self.replan_freq = replan_freq
        check_actor_arguments(self)

        parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
        self.sees_images = any(is_image_space(part, normalized_image=not normalize_images) for part in parts)

        self.features_extractor = self.make_features_extractor()
        self.standardizer = ObservationStandardizer(observation_space, normalize_images)
        features_dim = self.features_extractor.features_dim
        actor_arch, critic_arch = get_actor_critic_arch(net_arch)
        self.model = TrajectoryModel(
            PlanPrior(features_dim, plan_dim, actor_arch, activation_fn),
            FilmDecoder(features_dim + 1, plan_dim, action_space, actor_arch, activation_fn),
            ReturnPredictor(features_dim, plan_dim, critic_arch, activation_fn, n_critics),
            None if plan_horizon is None else ReturnPredictor(features_dim, plan_dim, critic_arch, activation_fn, n_critics),
        )
        self.register_buffer("target_return", th.zeros(()))
        # Exploitation is deterministic: its candidates are fixed, evenly spread normal noise, the mean plan first
        uniform = th.quasirandom.SobolEngine(plan_dim, scramble=True, seed=0).draw(n_candidates)
        noise = math.sqrt(2) * th.erfinv(2 * uniform.clamp(1e-4, 1 - 1e-4) - 1)  # on the CPU, also where the networks are not
        noise[0] = 0.0
        self.register_buffer("candidate_noise", noise, persistent=False)

    @property
    def device(self) -> th.device:
        """Device of the networks; SB3's own looks through all modules for it, at every step."""
        return self.target_return.device

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = (
            "net_arch activation_fn features_extractor_class features_extractor_kwargs plan_dim plan_horizon n_critics "
            "n_candidates n_averaged exploit_steps explore_steps replan_freq"
        ).split()
        return super()._get_constructor_parameters() | {name: getattr(self, name) for name in names}

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None) -> th.Tensor:
        """
        Features of standardised observations, of shape ``(batch_size, features_dim)``.

        :param obs: Observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        :param features_extractor: Extractor to use instead of the policy's own.
        """
        extractor = self.features_extractor if features_extractor is None else features_extractor
        features: th.Tensor = extractor(self.standardizer(self.preprocess(obs)))
        return features

    def preprocess(self, obs: TensorObs) -> TensorObs:
        """
        Observations as SB3 preprocesses them: images scaled, integers as one-hot codes, all as floats.

        :param obs: Observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        """
        preprocessed: TensorObs = preprocess_obs(obs, self.observation_space, normalize_images=self.normalize_images)
        return preprocessed

    def set_statistics(self, observations: TensorObs) -> None:
        """
        Standardise observations by those of the data.

        :param observations: Observations of shape ``(n_steps, *obs_shape)``, or a dict of such tensors.
        """
        self.standardizer.set_statistics(observations)

    def set_return_statistics(self, returns: th.Tensor) -> None:
        """
        Standardise returns by those of a sample.

        Where all are alike their differences are no scale: it stays as it was, or is their size where there was none.

        :param returns: In env units, of shape ``(n_trajectories,)``.
        """
        predictor = self.model.return_predictor
        returns = returns.cpu().double()  # squares of large ones do not fit float32
        std, size = returns.std(correction=0).item(), returns.square().mean().sqrt().item()
        if std <= MIN_RETURN_SPREAD * size or std == 0:
            std = predictor.return_std.item() if predictor.has_statistics else size or 1.0
        predictor.set_statistics(returns.mean().item(), std)

    def plan(self, obs: TensorObs, deterministic: bool = False, target_return: float | np.ndarray | None = None) -> th.Tensor:
        """
        Infer one plan per environment, of shape ``(n_envs, plan_dim)``: policy improvement.

        :param obs: Observations to plan from, of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param deterministic: Whether to exploit (the best plan) or to explore (a sample given the target).
        :param target_return: Return asked for, in env units, one for all or of shape ``(n_envs,)``. By default the largest
            when exploiting; when exploring an advantage of one standard deviation, of whole trajectories the moving target.
        :raises ValueError: when ``target_return`` has another shape.
        """
        n_envs = _n_rows(obs)
        predictor, target = self.model.return_predictor, self._asked(n_envs, target_return)
        if target is None and not deterministic:
            target = self.target_return.expand(n_envs)
            if self.model.advantage_predictor is not None:
                predictor, target = self.model.advantage_predictor, th.full_like(target, TARGET_ADVANTAGE)

        def plan_part(part: TensorObs, asked: th.Tensor | None = None) -> th.Tensor:
            with th.no_grad():
                features = self.extract_features(part)
            if deterministic:
                return exploit_plan(self.model, features, self.candidate_noise, self.n_averaged, self.exploit_steps, asked)
            assert asked is not None
            return explore_plan(self.model, predictor, features, asked, self.n_candidates, self.explore_steps)

        return self._in_parts(plan_part, obs, *([] if target is None else [target]))

    def _in_parts(self, function: Callable[..., th.Tensor], obs: TensorObs, *columns: th.Tensor) -> th.Tensor:
        """
        What a function makes of observations and other columns, a few rows at a time: memory does not grow with their number.

        :param function: Called with a part of the observations, and of each column.
        :param obs: Observations of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param columns: Tensors of as many rows.
        """
        n_at_once = max(CANDIDATES_AT_ONCE // self.n_candidates, 1)
        if (n_envs := _n_rows(obs)) <= n_at_once:
            return function(obs, *columns)
        for start in range(0, n_envs, n_at_once):
            rows = slice(start, start + n_at_once)
            part = function(_take(obs, rows), *(column[rows] for column in columns))
            if start == 0:  # small tensors that are kept among large ones keep memory from being used again
                made = part.new_empty((n_envs, *part.shape[1:]))
            made[rows] = part
            del part
        return made

    def _asked(self, n_envs: int, target_return: float | np.ndarray | None) -> th.Tensor | None:
        if target_return is None:
            return None
        asked = self.target_return.new_tensor(target_return)
        if asked.shape not in ((), (n_envs,)):
            raise ValueError(f"target_return has the shape {tuple(asked.shape)}, expected a number or {(n_envs,)}")
        return asked.expand(n_envs)

    def decoder_features(self, obs: TensorObs, ages: th.Tensor) -> th.Tensor:
        """
        What the decoder sees: features of the observations and the plan's clock, of shape ``(batch_size, decoder_dim)``.

        :param obs: Observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        :param ages: Number of actions taken with each plan before, of shape ``(batch_size,)``.
        """
        if self.plan_horizon is None:
            clock = 2 * ages / (ages + EPISODE_CLOCK) - 1
        else:
            clock = 2 * ages / self.plan_horizon - 1
        return th.cat((self.extract_features(obs), clock.unsqueeze(-1).float()), dim=-1)

    def forward(
        self, obs: TensorObs, plans: th.Tensor | None = None, ages: th.Tensor | None = None, deterministic: bool = False
    ) -> th.Tensor:
        """
        Actions in [-1, 1] (Box) or integers, of shape ``(n_envs, action_dim)``.

        :param obs: Current observations, of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param plans: Plans being followed, of shape ``(n_envs, plan_dim)``; ``None`` makes them for these observations.
        :param ages: Number of actions taken with each plan before, of shape ``(n_envs,)``; ``None`` for none.
        :param deterministic: Whether to take the most likely action, and to exploit where plans are made.
        """
        plans = self.plan(obs, deterministic) if plans is None else plans
        ages = plans.new_zeros(len(plans)) if ages is None else ages
        features = self.decoder_features(obs, ages)
        return self.model.act(features, plans, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        actions: th.Tensor = self(observation, deterministic=deterministic)
        return actions

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        target_return: float | np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Actions for observations, and the plans to pass back at the next step.

        Without state a plan is made for these observations; with it, plans are carried and only made anew where an episode
        starts or a plan has been followed for its time.

        :param observation: Observation, or a batch of them.
        :param state: What the last call returned; ``None`` at the start.
        :param episode_start: Whether each environment has just been reset, of shape ``(n_envs,)``.
        :param deterministic: Whether to exploit or to explore.
        :param target_return: Return asked for, in env units; see :meth:`plan`.
        :raises ValueError: when given ``(obs, info)``, or a state or starts of other environments or of another policy.
        """
        if self.training:
            self.set_training_mode(False)
        if isinstance(observation, tuple) and len(observation) == 2 and isinstance(observation[1], dict):
            raise ValueError(
                "predict() was given a tuple (obs, info), expected an array or a dict: `obs, info = env.reset()` is "
                "Gymnasium's API, `obs = vec_env.reset()` the one of vectorised environments."
            )
        obs_tensor, is_vectorized = self.obs_to_tensor(observation)
        n_envs = _n_rows(obs_tensor)

        with th.no_grad():
            if state is None:
                plans, ages = self.plan(obs_tensor, deterministic, target_return), np.zeros(n_envs, dtype=np.int64)
            else:
                plans, ages = self._carry(state, n_envs, episode_start, obs_tensor, deterministic, target_return)
            act = partial(self, deterministic=deterministic)
            buffer_actions = self._in_parts(act, obs_tensor, plans, th.as_tensor(ages, device=plans.device)).cpu().numpy()

        actions = unscale_actions(self.action_space, buffer_actions)
        if not is_vectorized:
            actions = actions.squeeze(axis=0)
        return actions, PlanState(plans.cpu().numpy(), ages + 1)

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """
        Buffer actions, in [-1, 1], for actions of a Box.

        :param action: Actions in env units, of shape ``(*action_shape,)`` or ``(n_envs, *action_shape)``.
        """
        return scale_actions(self.action_space, action)

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """
        Actions in env units, inside of the Box to the last bit.

        :param scaled_action: Buffer actions, of shape ``(*action_shape,)`` or ``(n_envs, *action_shape)``.
        """
        rows = np.reshape(scaled_action, (-1, *self.action_space.shape))  # type: ignore[misc]
        return unscale_actions(self.action_space, rows).reshape(np.shape(scaled_action))

    def _carry(
        self,
        state: tuple[np.ndarray, ...],
        n_envs: int,
        episode_start: np.ndarray | None,
        obs: TensorObs,
        deterministic: bool,
        target_return: float | np.ndarray | None,
    ) -> tuple[th.Tensor, np.ndarray]:
        """Plans and their ages, made anew where an episode starts or a plan has aged."""
        if not isinstance(state, tuple) or len(state) != 2:
            raise ValueError(f"predict() was given a state that is no {PlanState.__name__}, expected the one that it returned")
        last_plans, ages = state
        shapes, expected = (last_plans.shape, ages.shape), ((n_envs, self.plan_dim), (n_envs,))
        if shapes != expected:
            raise ValueError(f"predict() was given a state of plans and ages of shapes {shapes}, expected {expected}")
        is_due = np.zeros(n_envs, dtype=bool) if episode_start is None else np.array(episode_start, dtype=bool, ndmin=1)
        if is_due.shape != (n_envs,):
            raise ValueError(f"predict() was given episode_start of shape {is_due.shape}, expected {(n_envs,)}")
        if self.plan_horizon is not None:
            is_due |= ages >= (min(self.replan_freq, self.plan_horizon) if deterministic else self.plan_horizon)
        plans = th.as_tensor(last_plans, device=self.device)
        if is_due.any():
            rows = th.as_tensor(np.flatnonzero(is_due), device=self.device)
            due_obs = _take(obs, rows)
            if target_return is not None and np.ndim(target_return) > 0:
                if np.shape(target_return) != (n_envs,):
                    raise ValueError(
                        f"target_return has the shape {np.shape(target_return)}, expected a number or {(n_envs,)}"
                    )
                target_return = np.asarray(target_return)[is_due]
            plans = plans.clone()
            plans[rows] = self.plan(due_obs, deterministic, target_return)
            ages = np.where(is_due, 0, ages)
        return plans, ages


def _n_rows(obs: TensorObs) -> int:
    return len(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)


def _take(obs: TensorObs, rows: slice | th.Tensor) -> TensorObs:
    return {key: part[rows] for key, part in obs.items()} if isinstance(obs, dict) else obs[rows]
