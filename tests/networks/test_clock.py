"""The clock of a plan."""

import pytest
import torch as th

from sb3_gac.networks.clock import MIN_STD, Clock


def test_without_statistics_it_stands_halfway_at_its_scale():
    times = Clock(100.0)(th.tensor([0, 100, 300]))
    th.testing.assert_close(times, th.tensor([0.0, 0.5, 0.75]))


def test_it_is_standardised_by_the_ages_seen():
    clock, ages = Clock(100.0), th.tensor([[0, 100], [100, 0]])
    clock.set_statistics(ages)
    th.testing.assert_close(clock(ages), th.tensor([[-1.0, 1.0], [1.0, -1.0]]))


@pytest.mark.parametrize("age", [0, 7])
def test_ages_that_are_all_alike_are_not_blown_up(age):
    clock = Clock(100.0)
    clock.set_statistics(th.full((5,), age))
    assert clock(th.tensor([age])).item() == pytest.approx(0.0, abs=1e-6)
    assert abs(clock(th.tensor([age + 1])).item()) < 0.01 / MIN_STD
