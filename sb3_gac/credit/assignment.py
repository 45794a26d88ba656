"""From rewards, or from returns alone, to what each step weighs and each segment was worth."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch as th
from torch import nn

from sb3_gac.credit.advantage import advantage_weights, fit_advantages, varies
from sb3_gac.credit.decomposition import fit_rewards
from sb3_gac.credit.segment import segment_advantages, standardise_by_state
from sb3_gac.networks import CreditNetwork, RewardPredictor, SpreadPredictor
from sb3_gac.type_aliases import Array, StepTable


class Effort(NamedTuple):
    """
    How long credit is learnt for.

    :param n_sweeps: Sets of λ-returns, each learnt for an epoch or so.
    :param n_spread_updates: Gradient steps of the spread of advantages by state.
    :param n_reward_updates: Gradient steps of decomposed rewards.
    """

    n_sweeps: int
    n_spread_updates: int
    n_reward_updates: int


LEARNING_RATE = 2e-3
ONLINE, OFFLINE = Effort(5, 200, 200), Effort(25, 3000, 10000)


class AssignedCredit(NamedTuple):
    """
    What steps and segments are worth.

    :param weights: What the likelihood of each action counts, one on average, of shape ``(n_steps,)``.
    :param advantages: Standardised advantages of the segments from each step on, of shape ``(n_steps,)``; ``None`` where plans
        are of whole trajectories.
    :param logs: What to log, by name.
    """

    weights: Array
    advantages: Array | None
    logs: dict[str, float]


class CreditRule(nn.Module, ABC):
    """
    What learns the worth of steps and segments.

    Another rule is a subclass with these arguments, and the ``credit_rule_class`` of a subclass of GAC.

    :param features_dim: Size of the features of an observation.
    :param action_dim: Size of an encoded action.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation of the hidden layers.
    """

    optimizer: th.optim.Optimizer

    @abstractmethod
    def __init__(self, features_dim: int, action_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__()

    @abstractmethod
    def assign(
        self,
        features: th.Tensor,
        actions: th.Tensor,
        rewards: Array | None,
        steps: StepTable,
        gamma: float,
        gae_lambda: float,
        temperature: float | None,
        plan_horizon: int | None,
        effort: Effort,
    ) -> AssignedCredit:
        """
        Learn from all steps, and tell what they are worth.

        :param features: Features of the observations of all steps, of shape ``(n_steps, features_dim)``.
        :param actions: Their encoded actions, of shape ``(n_steps, encoded_dim)``.
        :param rewards: Their rewards, of shape ``(n_steps,)``; ``None`` to decompose the returns.
        :param steps: The trajectories, with their returns.
        :param gamma: Discount.
        :param gae_lambda: Decay of the trace of λ-returns.
        :param temperature: Standard deviations of the advantage that make a step weigh e times as much; ``None``: all weigh
            alike.
        :param plan_horizon: Length of segments; ``None``: there are none.
        :param effort: How long to learn.
        """


class AdvantageCredit(CreditRule):
    """Advantage weighting: steps count by the advantage of their action, segments by what follows them."""

    def __init__(self, features_dim: int, action_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> None:
        super().__init__(features_dim, action_dim, net_arch, activation_fn)
        self.credit_net = CreditNetwork(features_dim, action_dim, net_arch)
        self.reward_net = RewardPredictor(features_dim + action_dim, net_arch, activation_fn)
        self.spread_net = SpreadPredictor(features_dim, net_arch, activation_fn)
        self.optimizer = th.optim.Adam(self.parameters(), lr=LEARNING_RATE, fused=True)

    def assign(
        self,
        features: th.Tensor,
        actions: th.Tensor,
        rewards: Array | None,
        steps: StepTable,
        gamma: float,
        gae_lambda: float,
        temperature: float | None,
        plan_horizon: int | None,
        effort: Effort,
    ) -> AssignedCredit:
        losses: dict[str, float] = {}
        if rewards is None:
            n_updates = effort.n_reward_updates
            rewards, losses = fit_rewards(self.reward_net, self.optimizer, features, actions, steps, n_updates)
        rewards = rewards.astype(np.float64)
        advantages, values, value_losses = fit_advantages(
            self.credit_net,
            self.optimizer,
            features,
            actions,
            rewards,
            steps,
            gamma,
            gae_lambda,
            temperature,
            effort.n_sweeps,
        )
        weights = advantage_weights(advantages, temperature)
        logs = {**losses, **value_losses, "advantage_ess": float(1 / np.square(weights).mean())}  # their mean is 1
        if plan_horizon is None:
            return AssignedCredit(weights, None, logs)
        of_segments = segment_advantages(rewards, values, steps, gamma, plan_horizon)
        if not varies(of_segments, values):  # nothing is learnt: what is learnt of rounding would have to be forgotten
            return AssignedCredit(weights, np.zeros(len(weights)), logs)
        of_segments = (of_segments - of_segments.mean()) / of_segments.std()
        n_updates = effort.n_spread_updates
        of_segments = standardise_by_state(self.spread_net, self.optimizer, features, of_segments, n_updates)
        return AssignedCredit(weights, of_segments, logs)
