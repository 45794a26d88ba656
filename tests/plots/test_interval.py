import numpy as np
import pytest

from sb3_gac.plots import bootstrap_interval


def test_the_interval_of_a_coin_is_that_of_the_binomial() -> None:
    mean, low, high = bootstrap_interval([0.0, 1.0] * 200)
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.004)


def test_one_value_is_all_there_is() -> None:
    assert bootstrap_interval([2.0]) == (2.0, 2.0, 2.0)


def test_the_interval_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval([3.0] * 5) == (3.0, 3.0, 3.0)


def test_a_higher_level_is_wider_and_the_same_values_have_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=20)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert bootstrap_interval(values, level=0.5) == narrow


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])
