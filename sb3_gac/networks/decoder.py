"""The plan decoder p(a_t | o_t, z)."""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import torch as th
from gymnasium import spaces
from torch import nn

from sb3_gac.networks.action_head import ActionHead, make_action_head

EPISODE_CLOCK = 100  # steps at which the clock of a plan of a whole episode stands halfway


def plan_clock(ages: th.Tensor, plan_horizon: int | None) -> th.Tensor:
    """
    How far plans have been followed, from -1 at their start to 1, of shape ``(batch_size, 1)``.

    :param ages: Number of actions taken with each plan before, of shape ``(batch_size,)``.
    :param plan_horizon: Steps that a plan is made for; ``None``: those of an episode, however many they are.
    """
    clock = 2 * ages / (ages + EPISODE_CLOCK) - 1 if plan_horizon is None else 2 * ages / plan_horizon - 1
    return clock.unsqueeze(-1).float()


class PlanDecoder(nn.Module, ABC):
    """
    Policy that follows a plan; ``action_log_prob`` scores whole trajectories, ``act`` takes one step.

    Another decoder is a subclass with the arguments of :class:`FilmDecoder`, and a name in ``sb3_gac.networks.DECODERS``.
    """

    head: ActionHead

    @abstractmethod
    def action_log_prob(self, features: th.Tensor, actions: th.Tensor, plans: th.Tensor) -> th.Tensor:
        """
        Log-likelihood of the actions of each trajectory under its plan, of shape ``(batch_size, n_steps)``.

        :param features: Features of the observations, of shape ``(batch_size, n_steps, features_dim)``.
        :param actions: Buffer actions, of shape ``(batch_size, n_steps, action_dim)``.
        :param plans: Plans, of shape ``(batch_size, plan_dim)``.
        """

    @abstractmethod
    def act(self, features: th.Tensor, plans: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        Buffer action of each environment, of shape ``(n_envs, action_dim)``.

        :param features: Features of the current observations, of shape ``(n_envs, features_dim)``.
        :param plans: Plans being followed, of shape ``(n_envs, plan_dim)``.
        :param deterministic: Whether to take the most likely action.
        """


class FilmDecoder(PlanDecoder):
    """
    Markov decoder: an MLP on the observation whose every hidden layer is scaled and shifted by the plan.

    Feature-wise linear modulation (arXiv 1709.07871); with no hidden layer the plan is appended to the features.

    :param features_dim: Size of the features of an observation.
    :param plan_dim: Size of a plan.
    :param action_space: Space of the actions.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    """

    def __init__(
        self,
        features_dim: int,
        plan_dim: int,
        action_space: spaces.Space[Any],
        net_arch: list[int],
        activation_fn: type[nn.Module],
    ) -> None:
        super().__init__()
        dims = [features_dim if net_arch else features_dim + plan_dim, *net_arch]
        self.layers = nn.ModuleList([nn.Linear(n_in, n_out) for n_in, n_out in pairwise(dims)])
        self.net_arch = net_arch
        self.modulation = nn.Linear(plan_dim, 2 * sum(net_arch)) if net_arch else None  # of all layers in one product
        self.activation = activation_fn()
        self.head = make_action_head(dims[-1], action_space)

    def forward(self, features: th.Tensor, plans: th.Tensor) -> th.Tensor:
        """
        Parameters of the actions' distribution, of shape ``(..., n_parameters)``.

        :param features: Features of observations, of shape ``(..., features_dim)``.
        :param plans: Plans, of a shape that is broadcast to ``(..., plan_dim)``.
        """
        parameters: th.Tensor = self.head(self._hidden(features, plans))
        return parameters

    def _hidden(self, features: th.Tensor, plans: th.Tensor) -> th.Tensor:
        if self.modulation is None:
            return th.cat((features, plans.expand(*features.shape[:-1], -1)), dim=-1)
        modulations = self.modulation(plans).split(2 * self.net_arch, dim=-1)  # scales of all layers, then shifts
        hidden = features
        for i, layer in enumerate(self.layers):
            hidden = self.activation(th.addcmul(modulations[len(self.layers) + i], layer(hidden), 1 + modulations[i]))
        return hidden

    def action_log_prob(self, features: th.Tensor, actions: th.Tensor, plans: th.Tensor) -> th.Tensor:
        return self.head.log_prob(self(features, plans.unsqueeze(1)), actions)

    def act(self, features: th.Tensor, plans: th.Tensor, deterministic: bool) -> th.Tensor:
        return self.head.act(self(features, plans), deterministic)
