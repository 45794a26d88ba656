"""How small networks are fitted."""

import pytest
import torch as th
from torch import nn

from sb3_gac.data.regression import fit


@pytest.mark.parametrize(("weight_decay", "left"), [(0.0, 1.0), (1.0, 0.9 * 0.95)])
def test_weights_that_nothing_pulls_at_decay_with_the_rate(weight_decay, left):
    net = nn.Linear(2, 1)
    start = net.weight.detach().clone()
    fit(net, lambda: 0 * net(th.ones(1, 2)).sum(), 2, 0.1, weight_decay)  # rates of 0.1 and 0.05
    th.testing.assert_close(net.weight.detach(), left * start)
