"""Policies: the generative model, the encoder of its plans, and how plans are made, followed and learnt."""

from typing import Any, ClassVar

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
from sb3_gac.inference import PLANNERS, PlanState, check_episode_start
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
from sb3_gac.type_aliases import Array, NetArch, TensorObs


class LatentPlanPolicy(BasePolicy):
    """
    Policy of GAC: the generative model, a planner that searches it for plans, and the encoder that helps it learn.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule.
    :param net_arch: Hidden layers of all networks (default ``[64, 64]``); ``dict(pi=..., qf=...)`` gives the return
        predictor others.
    :param activation_fn: Activation of all networks.
    :param features_extractor_class: Features extractor, shared by all networks; ``None`` for that of the policy.
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

    default_features_extractor_class: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
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
        features_extractor_class = features_extractor_class or self.default_features_extractor_class
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

    def decoder_features(self, features: th.Tensor, ages: th.Tensor) -> th.Tensor:
        """
        What the decoder sees: features of the observations and the plan's clock, of shape ``(batch_size, decoder_dim)``.

        :param features: Features of observations, of shape ``(batch_size, features_dim)``.
        :param ages: Number of actions taken with each plan before, of shape ``(batch_size,)``.
        """
        return th.cat((features, plan_clock(ages, self.plan_horizon)), dim=-1)

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
        seen = self.decoder_features(self.extract_features(flat), ages.flatten())
        features: th.Tensor = seen.unflatten(0, (len(ages), -1))
        return features

    # ---------------------------------------------------------------- acting

    def plan(self, obs: TensorObs, deterministic: bool = False, target_return: float | Array | None = None) -> th.Tensor:
        """
        Infer one plan per environment, of shape ``(n_envs, plan_dim)``: policy improvement.

        :param obs: Observations to plan from, of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param deterministic: Whether to exploit (the best plan) or to explore (a sample given the target).
        :param target_return: Return asked for, in env units, one for all or of shape ``(n_envs,)``; see
            :meth:`Planner.plan <sb3_gac.inference.Planner.plan>`.
        :raises ValueError: when ``target_return`` has another shape.
        """
        target = self._target(target_return, _n_rows(obs))
        with th.no_grad():
            return self.planner.plan(self.model, self.extract_features(obs), deterministic, target)

    def _target(self, target_return: float | Array | None, n_envs: int) -> th.Tensor | None:
        if target_return is None:
            return None
        target = th.as_tensor(target_return, dtype=th.float32, device=self.device)
        if target.shape not in ((), (n_envs,)):
            raise ValueError(f"target_return has the shape {tuple(target.shape)}, expected a number or {(n_envs,)}")
        return target.expand(n_envs)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """
        Actions in [-1, 1] (Box) or integers, with a plan made for each observation, of shape ``(n_envs, action_dim)``.

        :param obs: Current observations, of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param deterministic: Whether to exploit and take the most likely action.
        """
        features = self.extract_features(obs)
        with th.no_grad():
            plans = self.planner.plan(self.model, features, deterministic)
        return self.model.act(self.decoder_features(features, plans.new_zeros(len(plans))), plans, deterministic)

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
        n_envs = _n_rows(obs)
        is_due, target = check_episode_start(episode_start, n_envs), self._target(target_return, n_envs)
        if state is None:
            carried, is_due = PlanState.begin(n_envs, self.plan_dim), np.ones(n_envs, dtype=bool)
        else:
            carried = PlanState.check(state, n_envs, self.plan_dim)
            is_due |= self.planner.is_due(carried.ages, deterministic)
        plans, ages = th.tensor(carried.plans, device=self.device), np.where(is_due, 0, carried.ages)
        with th.no_grad():
            features = self.extract_features(obs)
            if is_due.any():
                rows = th.as_tensor(np.flatnonzero(is_due), device=self.device)
                asked = None if target is None else target[rows]
                plans[rows] = self.planner.plan(self.model, features[rows], deterministic, asked)
            seen = self.decoder_features(features, th.as_tensor(ages, device=self.device))
            buffer_actions = self.model.act(seen, plans, deterministic)

        actions = unscale_actions(self.action_space, buffer_actions.cpu().numpy())
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


def _n_rows(obs: TensorObs) -> int:
    return len(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)


MlpPolicy = LatentPlanPolicy


class CnnPolicy(LatentPlanPolicy):
    """Policy of GAC for image observations: as :class:`LatentPlanPolicy`, with the CNN of the Nature paper."""

    default_features_extractor_class = NatureCNN


class MultiInputPolicy(LatentPlanPolicy):
    """Policy of GAC for Dict observations: as :class:`LatentPlanPolicy`, with one features extractor per key."""

    default_features_extractor_class = CombinedExtractor
