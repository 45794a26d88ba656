"""A clamp that learning can come back through."""

import pytest
import torch as th

from sb3_gac.networks.log_std import clamp_log_std

VALUES = (-7.0, -2.0, 0.3, 1.0, 9.0)


def test_same_as_clamp():
    values = th.tensor(VALUES)
    assert th.equal(clamp_log_std(values, -2.0, 1.0), values.clamp(-2.0, 1.0))


@pytest.mark.parametrize(
    ("slope", "expected"),
    [
        (1.0, (0.0, 1.0, 1.0, 1.0, 1.0)),  # a descent step lowers: what is too low already stays
        (-1.0, (-1.0, -1.0, -1.0, -1.0, 0.0)),  # a descent step raises: what is too high already stays
    ],
)
def test_gradient_leads_back(slope, expected):
    values = th.tensor(VALUES, requires_grad=True)
    (slope * clamp_log_std(values, -2.0, 1.0)).sum().backward()
    assert values.grad.tolist() == list(expected)


@pytest.mark.parametrize("start", [-9.0, 9.0])
def test_descent_from_outside_reaches_the_optimum(start):
    value = th.tensor([start], requires_grad=True)
    optimizer = th.optim.SGD([value], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        (clamp_log_std(value, -2.0, 1.0) - 0.25).square().sum().backward()
        optimizer.step()
    assert value.item() == pytest.approx(0.25, abs=1e-4)
