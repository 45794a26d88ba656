"""Policies: the actor, with the encoder and the optimizer that it needs to learn."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    get_actor_critic_arch,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_gac.actor import ACTING_SETTINGS, PlanActor
from sb3_gac.credit import CreditNetworks
from sb3_gac.networks import CreditNetwork, PlanEncoder, RewardPredictor, SpreadPredictor
from sb3_gac.type_aliases import NetArch, TensorObs

CREDIT_LEARNING_RATE = 2e-3


class LatentPlanPolicy(BasePolicy):
    """
    Policy of GAC: the actor, which is the whole generative model, and what helps it learn: the encoder, values and rewards.

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
    :param actor_kwargs: The remaining keyword arguments go to :class:`PlanActor`.
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
        **actor_kwargs: Any,
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
        self.actor_kwargs = actor_kwargs
        self.actor = PlanActor(
            observation_space,
            action_space,
            self.net_arch,
            activation_fn,
            features_extractor_class,
            self.features_extractor_kwargs,
            normalize_images,
            **self.actor_kwargs,
        )
        self._made_with = {name: getattr(self.actor, name) for name in ACTING_SETTINGS}
        actor_arch, _ = get_actor_critic_arch(self.net_arch)
        self.encoder = PlanEncoder(
            self.actor.features_extractor.features_dim,
            self.actor.model.decoder.head.encoded_dim,
            self.actor.plan_dim,
            actor_arch,
            activation_fn,
        )
        if not self.optimizer_kwargs and optimizer_class in (th.optim.Adam, th.optim.AdamW):
            self.optimizer_kwargs = dict(fused=True)  # one pass over the parameters: ten times faster on CPU
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )
        _, value_arch = get_actor_critic_arch(self.net_arch)
        features_dim, action_dim = self.actor.features_extractor.features_dim, self.actor.model.decoder.head.encoded_dim
        self.credit_net = CreditNetwork(features_dim, action_dim, value_arch)
        self.reward_net = RewardPredictor(features_dim + action_dim, value_arch, activation_fn)
        self.spread_net = SpreadPredictor(features_dim, value_arch, activation_fn)
        nets = (self.credit_net, self.reward_net, self.spread_net)
        self.credit_optimizer = th.optim.Adam(
            [parameter for net in nets for parameter in net.parameters()], lr=CREDIT_LEARNING_RATE, fused=True
        )

    @property
    def credit_networks(self) -> CreditNetworks:
        """What credit learns, with its optimizer."""
        return CreditNetworks(self.credit_net, self.reward_net, self.spread_net, self.credit_optimizer)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | dict(
            lr_schedule=self._dummy_schedule,  # not needed to act
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
            **(self.actor_kwargs | self.changed_settings()),
        )

    def changed_settings(self) -> dict[str, Any]:
        """Arguments of the actor that plans are made and followed with, where they have been changed since it was made."""
        settings = {name: getattr(self.actor, name) for name in ACTING_SETTINGS}
        return {name: value for name, value in settings.items() if value != self._made_with[name]}

    def step_features(self, observations: TensorObs, ages: th.Tensor) -> th.Tensor:
        """
        What the decoder sees of every sampled step, of shape ``(batch_size, n_steps, decoder_dim)``.

        :param observations: Observations of shape ``(batch_size, n_steps, *obs_shape)``, or a dict of such tensors.
        :param ages: Number of steps taken before each of them, of shape ``(batch_size, n_steps)``.
        """
        if isinstance(observations, dict):
            batch_size = len(next(iter(observations.values())))
            flat: TensorObs = {key: part.flatten(0, 1) for key, part in observations.items()}
        else:
            batch_size, flat = len(observations), observations.flatten(0, 1)
        features: th.Tensor = self.actor.decoder_features(flat, ages.flatten()).unflatten(0, (batch_size, -1))
        return features

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """
        Buffer actions, of shape ``(n_envs, action_dim)``, of plans that are made for these observations.

        :param obs: Observations of shape ``(n_envs, *obs_shape)``, or a dict of such tensors.
        :param deterministic: Whether to exploit or to explore.
        """
        return self._predict(obs, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.actor._predict(observation, deterministic)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        target_return: float | np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """See :meth:`PlanActor.predict <sb3_gac.actor.PlanActor.predict>`."""
        if self.training:
            self.set_training_mode(False)
        return self.actor.predict(observation, state, episode_start, deterministic, target_return)

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """See :meth:`PlanActor.scale_action <sb3_gac.actor.PlanActor.scale_action>`."""
        return self.actor.scale_action(action)

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """See :meth:`PlanActor.unscale_action <sb3_gac.actor.PlanActor.unscale_action>`."""
        return self.actor.unscale_action(scaled_action)


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
