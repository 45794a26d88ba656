import pytest

from sb3_gac.plots import bootstrap_interval


def test_the_interval_of_a_coin_is_that_of_the_binomial() -> None:
    mean, low, high = bootstrap_interval([0.0, 1.0] * 200)
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.004)


def test_one_value_is_all_there_is() -> None:
    assert bootstrap_interval([2.0]) == (2.0, 2.0, 2.0)
