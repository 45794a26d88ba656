"""From rewards, or from returns alone, to what each step weighs and each segment was worth."""

from typing import NamedTuple

import numpy as np
import torch as th

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


ONLINE, OFFLINE = Effort(5, 200, 200), Effort(25, 3000, 10000)


class CreditNetworks(NamedTuple):
    """
    What credit learns.

    :param credit_net: Values, baselines and advantages.
    :param reward_net: Decomposed rewards.
    :param spread_net: Mean and spread of the advantages of segments in each state.
    :param optimizer: Optimizer of all three.
    """

    credit_net: CreditNetwork
    reward_net: RewardPredictor
    spread_net: SpreadPredictor
    optimizer: th.optim.Optimizer


def assign_credit(
    networks: CreditNetworks,
    features: th.Tensor,
    actions: th.Tensor,
    rewards: Array | None,
    steps: StepTable,
    gamma: float,
    gae_lambda: float,
    temperature: float | None,
    plan_horizon: int | None,
    effort: Effort,
) -> tuple[Array, Array | None, dict[str, float]]:
    """
    What steps weigh, the standardised advantages of segments, both of shape ``(n_steps,)``, and what to log.

    :param networks: They learn.
    :param features: Features of the observations of all steps, of shape ``(n_steps, features_dim)``.
    :param actions: Their encoded actions, of shape ``(n_steps, encoded_dim)``.
    :param rewards: Their rewards, of shape ``(n_steps,)``; ``None`` to decompose the returns.
    :param steps: The trajectories, with their returns.
    :param gamma: Discount.
    :param gae_lambda: Decay of the trace of λ-returns.
    :param temperature: Standard deviations of the advantage that make a step weigh e times as much; ``None``: all weigh alike.
    :param plan_horizon: Length of segments; ``None``: there are none.
    :param effort: How long to learn.
    """
    losses: dict[str, float] = {}
    if rewards is None:
        n_updates = effort.n_reward_updates
        rewards, losses = fit_rewards(networks.reward_net, networks.optimizer, features, actions, steps, n_updates)
    rewards = rewards.astype(np.float64)
    advantages, values, value_losses = fit_advantages(
        networks.credit_net,
        networks.optimizer,
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
        return weights, None, logs
    of_segments = segment_advantages(rewards, values, steps, gamma, plan_horizon)
    if not varies(of_segments, values):  # nothing is learnt: what is learnt of rounding would have to be forgotten
        return weights, np.zeros(len(weights)), logs
    of_segments = (of_segments - of_segments.mean()) / of_segments.std()
    n_updates = effort.n_spread_updates
    return weights, standardise_by_state(networks.spread_net, networks.optimizer, features, of_segments, n_updates), logs
