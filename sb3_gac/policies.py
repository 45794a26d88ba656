"""Policies: the generative model, the encoder of its plans, and how plans are made, followed and learnt."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    get_actor_critic_arch,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_gac.arguments import check_at_least, choose, without_peers_arguments
from sb3_gac.inference import PLANNERS
from sb3_gac.networks import (
    DECODERS,
    PRIORS,
    ObservationStandardizer,
    PlanEncoder,
    ReturnPredictor,
    TrajectoryModel,
    plan_clock,
)
from sb3_gac.scaling import scale_actions, unscale_actions
from sb3_gac.type_aliases import NetArch, PlanState, TensorObs

# Candidates of all environments that are looked at together: each takes about ten kilobytes
CANDIDATES_AT_ONCE = 2**14


class LatentPlanPolicy(BasePolicy):
    """
    Policy of GAC: the generative model, a planner that searches it for plans, and the encoder that helps it learn.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule.
    :param net_arch: Hidden layers of all networks (default ``[64, 64]``); ``dict(pi=..., qf=...)`` gives the return
        predictor others.
    :param activation_fn: Activation of all networks.
    :param features_extractor_class: Features extractor, shared by all networks.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Whether to divide images by 255.
    :param optimizer_class: Optimizer, ``th.optim.Adam`` by default.
    :param optimizer_kwargs: Keyword arguments of the optimizer, except the learning rate.
    :param plan_dim: Size of a plan.
    :param plan_horizon: Steps that a plan is made for, from any step on; ``None``: the whole trajectory, as in the paper.
    :param n_critics: Members of the ensemble of the return predictor, which is the critic of GAC.
    :param prior: Prior over plans, a name of ``sb3_gac.networks.PRIORS``.
    :param decoder: Decoder of plans, a name of ``sb3_gac.networks.DECODERS``.
    :param planner: How plans are made, a name of ``sb3_gac.inference.PLANNERS``.
    :param planner_kwargs: The remaining keyword arguments go to the planner, see :class:`~sb3_gac.inference.Planner`. Those
        that only the policies of SAC and TQC have are ignored with a warning.
    :raises ValueError: naming the argument that makes no sense, or the policy that observations are for.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        plan_dim: int = 16,
        plan_horizon: int | None = 10,
        n_critics: int = 5,
        prior: str = "gaussian",
        decoder: str = "film",
        planner: str = "sampling",
        **planner_kwargs: Any,
    ) -> None:
        is_dict = isinstance(observation_space, spaces.Dict)
        if is_dict and features_extractor_class in (FlattenExtractor, NatureCNN):
            raise ValueError(f"`MultiInputLatentPolicy` is the policy for dict observations such as {observation_space}")
        if not is_dict and features_extractor_class is CombinedExtractor:
            raise ValueError(f"`MlpLatentPolicy` is the policy for {observation_space}, `CnnLatentPolicy` if these are images")
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=isinstance(action_space, spaces.Box),
            normalize_images=normalize_images,
        )
        self.net_arch: NetArch = [64, 64] if net_arch is None else net_arch
        self.activation_fn = activation_fn
        self.plan_dim = plan_dim
        self.plan_horizon = plan_horizon
        self.n_critics = n_critics
        self.parts = dict(prior=prior, decoder=decoder, planner=planner)
        self.planner_kwargs = without_peers_arguments(planner_kwargs, is_of_policy=True)
        check_at_least(self, plan_dim=1, n_critics=1)
        if plan_horizon is not None and plan_horizon < 1:
            raise ValueError(f"plan_horizon must be at least 1 or None, got {plan_horizon!r}")
        parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
        self.sees_images = any(is_image_space(part, normalized_image=not normalize_images) for part in parts)

        self.features_extractor = self.make_features_extractor()
        self.standardizer = ObservationStandardizer(observation_space, normalize_images)
        features_dim = self.features_extractor.features_dim
        actor_arch, critic_arch = get_actor_critic_arch(self.net_arch)
        self.model = TrajectoryModel(
            choose("prior", PRIORS, prior)(features_dim, plan_dim, actor_arch, activation_fn),
            choose("decoder", DECODERS, decoder)(features_dim + 1, plan_dim, action_space, actor_arch, activation_fn),
            ReturnPredictor(features_dim, plan_dim, critic_arch, activation_fn, n_critics),
            None if plan_horizon is None else ReturnPredictor(features_dim, plan_dim, critic_arch, activation_fn, n_critics),
        )
        self.encoder = PlanEncoder(features_dim, self.encoded_dim, plan_dim, actor_arch, activation_fn)
        self.planner = choose("planner", PLANNERS, planner)(self.model.prior.noise_dim, plan_horizon, **self.planner_kwargs)
        if not self.optimizer_kwargs and optimizer_class in (th.optim.Adam, th.optim.AdamW):
            self.optimizer_kwargs = dict(fused=True)  # one pass over the parameters: ten times faster on CPU
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    @property
    def actor(self) -> "LatentPlanPolicy":
        """The policy itself, for recipes that ask for the actor of SAC."""
        return self

    @property
    def device(self) -> th.device:
        """Device of the networks; SB3's own looks through all modules for it, at every step."""
        return self.planner.target_return.device

    @property
    def features_dim(self) -> int:
        """Size of the features of an observation."""
        return self.features_extractor.features_dim

    @property
    def encoded_dim(self) -> int:
        """Size of an encoded action."""
        return self.model.decoder.head.encoded_dim

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | dict(
            lr_schedule=self._dummy_schedule,  # not needed to act
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
            plan_dim=self.plan_dim,
            plan_horizon=self.plan_horizon,
            n_critics=self.n_critics,
            **self.parts,
            **(self.planner_kwargs | self.planner.changed_settings()),
        )

    # ---------------------------------------------------------------- observations

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None) -> th.Tensor:
        """
        Features of standardised observations, of shape ``(batch_size, features_dim)``.

        :param obs: Observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        :param features_extractor: Extractor to use instead of the policy's own.
        """
        extractor = self.features_extractor if features_extractor is None else features_extractor
        preprocessed: TensorObs = preprocess_obs(obs, self.observation_space, normalize_images=self.normalize_images)
        features: th.Tensor = extractor(self.standardizer(preprocessed))
        return features

    def decoder_features(self, obs: TensorObs, ages: th.Tensor) -> th.Tensor:
        """
        What the decoder sees: features of the observations and the plan's clock, of shape ``(batch_size, decoder_dim)``.

        :param obs: Observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        :param ages: Number of actions taken with each plan before, of shape ``(batch_size,)``.
        """
        return th.cat((self.extract_features(obs), plan_clock(ages, self.plan_horizon)), dim=-1)

    def step_features(self, observations: TensorObs, ages: th.Tensor) -> th.Tensor:
        """
        The same of every sampled step, of shape ``(batch_size, n_steps, decoder_dim)``.

        :param observations: Observations of shape ``(batch_size, n_steps, *obs_shape)``, or a dict of such tensors.
        :param ages: Number of steps taken before each of them, of shape ``(batch_size, n_steps)``.
        """
        if isinstance(observations, dict):
            flat: TensorObs = {key: part.flatten(0, 1) for key, part in observations.items()}
        else:
            flat = observations.flatten(0, 1)
        features: th.Tensor = self.decoder_features(flat, ages.flatten()).unflatten(0, (len(ages), -1))
        return features

    # ---------------------------------------------------------------- acting

    def plan(self, obs: TensorObs, deterministic: bool = False, target_return: float | np.ndarray | None = None) -> th.Tensor:
        """
        Infer one plan per environment, of shape ``(n_envs, plan_dim)``: policy improvement.

        :param obs: Observations to plan from, of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param deterministic: Whether to exploit (the best plan) or to explore (a sample given the target).
        :param target_return: Return asked for, in env units, one for all or of shape ``(n_envs,)``; see
            :meth:`Planner.plan <sb3_gac.inference.Planner.plan>`.
        :raises ValueError: when ``target_return`` has another shape.
        """

        def plan_part(part: TensorObs, target: th.Tensor | None = None) -> th.Tensor:
            with th.no_grad():
                features = self.extract_features(part)
            return self.planner.plan(self.model, features, deterministic, target)

        if target_return is None:
            return self._in_parts(plan_part, obs)
        target, n_envs = self.planner.target_return.new_tensor(target_return), _n_rows(obs)
        if target.shape not in ((), (n_envs,)):
            raise ValueError(f"target_return has the shape {tuple(target.shape)}, expected a number or {(n_envs,)}")
        return self._in_parts(plan_part, obs, target.expand(n_envs))

    def _in_parts(self, function: Callable[..., th.Tensor], obs: TensorObs, *columns: th.Tensor) -> th.Tensor:
        """
        What a function makes of observations and other columns, a few rows at a time: memory does not grow with their number.

        :param function: Called with a part of the observations, and of each column.
        :param obs: Observations of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param columns: Tensors of as many rows.
        """
        n_at_once = max(CANDIDATES_AT_ONCE // self.planner.n_candidates, 1)
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

    def forward(
        self,
        obs: PyTorchObs,
        deterministic: bool = False,
        plans: th.Tensor | None = None,
        ages: th.Tensor | None = None,
    ) -> th.Tensor:
        """
        Actions in [-1, 1] (Box) or integers, of shape ``(n_envs, action_dim)``.

        :param obs: Current observations, of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param deterministic: Whether to take the most likely action, and to exploit where plans are made.
        :param plans: Plans being followed, of shape ``(n_envs, plan_dim)``; ``None`` makes them for these observations.
        :param ages: Number of actions taken with each plan before, of shape ``(n_envs,)``; ``None`` for none.
        """
        plans = self.plan(obs, deterministic) if plans is None else plans
        ages = plans.new_zeros(len(plans)) if ages is None else ages
        return self.model.act(self.decoder_features(obs, ages), plans, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        actions: th.Tensor = self(observation, deterministic)
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
        obs, is_vectorized = self.obs_to_tensor(observation)

        def act(part: TensorObs, plans: th.Tensor, ages: th.Tensor) -> th.Tensor:
            actions: th.Tensor = self(part, deterministic, plans, ages)
            return actions

        with th.no_grad():
            if state is None:
                plans, ages = self.plan(obs, deterministic, target_return), np.zeros(_n_rows(obs), dtype=np.int64)
            else:
                plans, ages = self._carry(state, obs, episode_start, deterministic, target_return)
            buffer_actions = self._in_parts(act, obs, plans, th.as_tensor(ages, device=plans.device)).cpu().numpy()

        actions = unscale_actions(self.action_space, buffer_actions)
        if not is_vectorized:
            actions = actions.squeeze(axis=0)
        return actions, PlanState(plans.cpu().numpy(), ages + 1)

    def _carry(
        self,
        state: tuple[np.ndarray, ...],
        obs: TensorObs,
        episode_start: np.ndarray | None,
        deterministic: bool,
        target_return: float | np.ndarray | None,
    ) -> tuple[th.Tensor, np.ndarray]:
        """Plans and their ages, made anew where an episode starts or a plan has aged."""
        if not isinstance(state, tuple) or len(state) != 2:
            raise ValueError(f"predict() was given a state that is no {PlanState.__name__}, expected the one that it returned")
        n_envs = _n_rows(obs)
        last_plans, ages = state
        shapes, expected = (last_plans.shape, ages.shape), ((n_envs, self.plan_dim), (n_envs,))
        if shapes != expected:
            raise ValueError(f"predict() was given a state of plans and ages of shapes {shapes}, expected {expected}")
        is_due = np.zeros(n_envs, dtype=bool) if episode_start is None else np.array(episode_start, dtype=bool, ndmin=1)
        if is_due.shape != (n_envs,):
            raise ValueError(f"predict() was given episode_start of shape {is_due.shape}, expected {(n_envs,)}")
        is_due |= self.planner.is_due(ages, deterministic)
        plans = th.as_tensor(last_plans, device=self.device)
        if is_due.any():
            rows = th.as_tensor(np.flatnonzero(is_due), device=self.device)
            if target_return is not None and np.ndim(target_return) > 0:
                if np.shape(target_return) != (n_envs,):
                    raise ValueError(
                        f"target_return has the shape {np.shape(target_return)}, expected a number or {(n_envs,)}"
                    )
                target_return = np.asarray(target_return)[is_due]
            plans = plans.clone()
            plans[rows] = self.plan(_take(obs, rows), deterministic, target_return)
            ages = np.where(is_due, 0, ages)
        return plans, ages

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


def _n_rows(obs: TensorObs) -> int:
    return len(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)


def _take(obs: TensorObs, rows: slice | th.Tensor) -> TensorObs:
    return {key: part[rows] for key, part in obs.items()} if isinstance(obs, dict) else obs[rows]


MlpPolicy = LatentPlanPolicy


class CnnPolicy(LatentPlanPolicy):
    """
    Policy of GAC for image observations: as :class:`LatentPlanPolicy`, with a CNN as features extractor.

    :param features_extractor_class: Features extractor, the CNN of the Nature paper by default.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space, action_space, lr_schedule, features_extractor_class=features_extractor_class, **kwargs
        )


class MultiInputPolicy(LatentPlanPolicy):
    """
    Policy of GAC for Dict observations: as :class:`LatentPlanPolicy`, with one features extractor per key.

    :param features_extractor_class: Features extractor, one network per key by default.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space, action_space, lr_schedule, features_extractor_class=features_extractor_class, **kwargs
        )
