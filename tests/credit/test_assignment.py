"""What is assigned where nothing, or all, is known."""

import numpy as np
import torch as th
from torch import nn

from sb3_gac.credit import ONLINE, AdvantageCredit
from sb3_gac.type_aliases import StepTable


def assign(rewards):
    """Credit of four trajectories of thirty steps, and whether the spread of advantages was learnt."""
    th.manual_seed(0)
    rng = np.random.default_rng(0)
    features, actions = (th.as_tensor(rng.normal(size=(120, n)), dtype=th.float32) for n in (2, 1))
    steps = StepTable(np.arange(120), np.full(4, 30), np.zeros(4), np.zeros(4, dtype=bool), np.arange(4))
    rule = AdvantageCredit(2, 1, [8], nn.Tanh)
    before = rule.spread_net.net[0].weight.clone()
    weights, advantages, _ = rule.assign(features, actions, rewards, steps, 0.9, 0.8, 0.5, 10, ONLINE)
    return weights, advantages, not th.equal(before, rule.spread_net.net[0].weight)


def test_rewards_that_are_all_alike_give_no_segment_an_advantage_and_teach_no_spread():
    weights, advantages, has_learnt = assign(np.full(120, -1.0))
    assert (weights == 1).all() and not advantages.any() and not has_learnt


def test_other_rewards_do():
    weights, advantages, has_learnt = assign(np.random.default_rng(1).normal(size=120))
    assert abs(weights.mean() - 1) < 1e-3
    assert abs(advantages.std() - 1) < 1e-5 and has_learnt
