"""The plan decoder p(a_t | o_t, z)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch as th
from gymnasium import spaces
from torch import nn

from sb3_gac.fourier import FourierFeatures
from sb3_gac.networks.action_head import ActionHead, make_action_head

MAX_SCORERS = 5
"""Decoders of an ensemble that score the same step, and learn from it, at most; more where steps are fewer than groups."""


class PlanDecoder(nn.Module, ABC):
    """Policy that follows a plan; ``action_log_prob`` scores whole trajectories, ``act`` takes one step."""

    head: ActionHead

    @abstractmethod
    def action_log_prob(self, features: th.Tensor, actions: th.Tensor, plans: th.Tensor) -> th.Tensor:
        """
        Log-likelihood of the actions of each trajectory under its plan, of shape ``(batch_size, n_steps)``.

        :param features: Features of the observations, of shape ``(batch_size, n_steps, features_dim)``.
        :param actions: Buffer actions, of shape ``(batch_size, n_steps, action_dim)``.
        :param plans: Embedded plans, of shape ``(batch_size, plan_dim)``.
        """

    @abstractmethod
    def act(self, features: th.Tensor, plans: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        Buffer action of each environment, of shape ``(n_envs, action_dim)``.

        :param features: Features of the current observations, of shape ``(n_envs, features_dim)``.
        :param plans: Embedded plans being followed, of shape ``(n_envs, plan_dim)``.
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
    :param isotropic: Whether all entries of a Box action have the same standard deviation, see
        :class:`~sb3_gac.networks.action_head.GaussianActionHead`.
    :param nll_beta: How the gradients of a Gaussian's likelihood are weighted, see there.
    :param n_waves: Waves that follow the features, see :class:`~sb3_gac.fourier.FourierFeatures`; 0 for none.
    :param wave_scale: Their scale.
    """

    def __init__(
        self,
        features_dim: int,
        plan_dim: int,
        action_space: spaces.Space[Any],
        net_arch: list[int],
        activation_fn: type[nn.Module],
        isotropic: bool = False,
        nll_beta: float = 0.0,
        n_waves: int = 0,
        wave_scale: float = 0.5,
    ) -> None:
        super().__init__()
        self.waves = FourierFeatures(features_dim, n_waves, wave_scale) if n_waves > 0 else None
        if self.waves is not None:
            features_dim = self.waves.out_dim
        dims = [features_dim if net_arch else features_dim + plan_dim, *net_arch]
        self.layers = nn.ModuleList([nn.Linear(n_in, n_out) for n_in, n_out in pairwise(dims)])
        self.net_arch = net_arch
        self.modulation = nn.Linear(plan_dim, 2 * sum(net_arch)) if net_arch else None  # of all layers in one product
        self.activation = activation_fn()
        self.head = make_action_head(dims[-1], action_space, isotropic, nll_beta)

    def forward(self, features: th.Tensor, plans: th.Tensor) -> th.Tensor:
        """
        Parameters of the actions' distribution, of shape ``(..., n_parameters)``.

        :param features: Features of observations, of shape ``(..., features_dim)``.
        :param plans: Embedded plans, of a shape that is broadcast to ``(..., plan_dim)``.
        """
        parameters: th.Tensor = self.head(self._hidden(features, plans))
        return parameters

    def _hidden(self, features: th.Tensor, plans: th.Tensor) -> th.Tensor:
        if self.waves is not None:
            features = self.waves(features)
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


class DecoderEnsemble(PlanDecoder):
    """
    Decoders that follow the same plans and share no weights; the parameters of their actions' distributions are averaged.

    Each learns from its own likelihood. Where the data shows what to do they agree, and elsewhere their errors cancel: cloned
    policies drift from the data by small errors, which lead to larger ones (arXiv 1011.0686). More than five share the steps
    out, evenly, in groups of at most five, so that many cost little more to train than five; steps must be in random order
    then. Acting runs all of them.

    :param members: At least one decoder; all have the same spaces.
    """

    members: Sequence[FilmDecoder]

    def __init__(self, members: Sequence[FilmDecoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)  # type: ignore[assignment]

    @property
    def head(self) -> ActionHead:  # type: ignore[override]
        """Head of the first member: it says how actions are encoded, and makes them of the averaged parameters."""
        return self.members[0].head

    def action_log_prob(self, features: th.Tensor, actions: th.Tensor, plans: th.Tensor) -> th.Tensor:
        n_shares = min(math.ceil(len(self.members) / MAX_SCORERS), features.shape[1])
        log_probs = []
        # Steps are drawn at random: any share of them will do
        shares = zip(features.tensor_split(n_shares, dim=1), actions.tensor_split(n_shares, dim=1), strict=True)
        for i, (seen, done) in enumerate(shares):
            scores = [member.action_log_prob(seen, done, plans) for member in self.members[i::n_shares]]
            log_probs.append(th.stack(scores).mean(dim=0))
        return th.cat(log_probs, dim=1)

    def act(self, features: th.Tensor, plans: th.Tensor, deterministic: bool) -> th.Tensor:
        parameters = th.stack([member(features, plans) for member in self.members]).mean(dim=0)
        return self.head.act(parameters, deterministic)
