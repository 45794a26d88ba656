"""Where the target return stands and how it moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_gac.inference import TargetReturn

returns_strategy = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20).map(np.array)
shares = st.floats(0, 1)
amounts = st.floats(0, 2)


def bounds(target: TargetReturn, returns: np.ndarray) -> tuple[float, float]:
    return float(np.quantile(returns, target.quantile)), float(returns.max() + target.headroom * returns.std())


@settings(max_examples=50, deadline=None)
@given(returns=returns_strategy, quantile=shares)
def test_starts_at_the_quantile_of_the_known_returns(returns, quantile):
    target = TargetReturn(quantile)
    assert target.value is None
    target.fit(returns)
    assert target.value == np.quantile(returns, quantile)


def test_moves_by_hand():
    target = TargetReturn(quantile=0.5, rise=2.0, fall=0.25, headroom=1.0)
    target.fit(np.array([0.0, 0.0, 8.0, 8.0]))  # median 4, standard deviation 4, best 8
    assert target.value == 4
    for achieved, expected in (
        (4.0, 12.0),  # reached: two standard deviations more
        (11.9, 11.0),  # missed: a quarter of one less
        (13.0, 17.0),  # reached: one standard deviation above what has now been achieved
        (-5.0, 16.0),
    ):
        target.update(achieved)
        assert target.value == expected
    for _ in range(20):
        target.update(0.0)
    assert target.value == 4


@settings(max_examples=50, deadline=None)
@given(
    returns=returns_strategy,
    achieved=st.lists(st.floats(-1e4, 1e4), max_size=30),
    quantile=shares,
    rise=amounts,
    fall=amounts,
    headroom=amounts,
)
def test_rises_when_reached_falls_when_missed_within_bounds(returns, achieved, quantile, rise, fall, headroom):
    target = TargetReturn(quantile, rise, fall, headroom)
    target.fit(returns)
    low, high = bounds(target, returns)
    for achieved_return in achieved:
        before = target.value
        target.update(achieved_return)
        high = max(high, achieved_return + headroom * returns.std())
        if achieved_return >= before:
            assert target.value == pytest.approx(min(before + rise * returns.std(), high))
            assert target.value >= before
        else:
            assert target.value == pytest.approx(max(before - fall * returns.std(), low))
            assert target.value <= before
        assert low <= target.value <= high


@settings(max_examples=50, deadline=None)
@given(first=returns_strategy, second=returns_strategy, achieved=st.lists(st.floats(-1e4, 1e4), max_size=10))
def test_new_returns_move_the_bounds_and_the_target_no_further_than_they_must(first, second, achieved):
    target = TargetReturn()
    target.fit(first)
    for achieved_return in achieved:
        target.update(achieved_return)
    before = target.value
    target.fit(second)
    low, high = bounds(target, second)
    assert target.value == np.clip(before, low, high)


def test_rollouts_before_anything_is_known_move_nothing():
    target = TargetReturn()
    target.update(1e6)
    assert target.value is None


def test_equal_returns_leave_no_room():
    target = TargetReturn()
    target.fit(np.full(5, 3.0))
    for achieved in (5.0, 1.0):
        target.update(achieved)
        assert target.value == 3


@pytest.mark.parametrize(
    "settings", [dict(quantile=-0.1), dict(quantile=1.1), dict(rise=-1.0), dict(fall=-1.0), dict(headroom=-1.0)]
)
def test_senseless_settings_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        TargetReturn(**settings)
