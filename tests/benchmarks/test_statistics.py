import itertools
import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from benchmarks.statistics import (
    interquartile_mean,
    paired_permutation_p,
    permutation_p,
    stratified_interval,
    t_interval,
)

N_SEEDS, N_TRIALS = 6, 1_000


def test_the_interval_of_a_mean_covers_it_in_95_of_100_cases() -> None:
    scores = np.random.default_rng(0).normal(50.0, 20.0, size=(N_TRIALS, N_SEEDS))
    intervals = [t_interval(list(row)) for row in scores]
    assert 0.93 <= np.mean([interval.low <= 50.0 <= interval.high for interval in intervals]) <= 0.97


def test_the_interval_over_tasks_covers_the_interquartile_mean_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(1)
    centers, spreads = np.linspace(20.0, 120.0, 9), np.linspace(2.0, 30.0, 9)

    def draw(n: int) -> np.ndarray:
        return rng.normal(centers[:, None], spreads[:, None], size=(n, 9, N_SEEDS))

    truth = float(np.mean(interquartile_mean(draw(20_000).reshape(20_000, -1))))
    intervals = [stratified_interval([list(of_task) for of_task in scores], seed=i) for i, scores in enumerate(draw(300))]
    # Three hundred cases tell the coverage to within 0.013
    assert 0.92 <= np.mean([interval.low <= truth <= interval.high for interval in intervals]) <= 0.98


def test_one_seed_has_no_interval() -> None:
    assert t_interval([3.0]).mean == 3.0 and math.isnan(t_interval([3.0]).low)
    assert math.isnan(stratified_interval([[1.0, 2.0], [3.0]]).high)


def test_the_interquartile_mean_leaves_a_quarter_out_on_either_side() -> None:
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])) == 1.5
    assert interquartile_mean(np.array([5.0, 6.0])) == 5.5


def test_the_interval_of_a_mean_is_that_of_the_book() -> None:
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.high == pytest.approx(2.0 + 4.302653 / math.sqrt(3))  # t with two degrees of freedom


def test_two_groups_that_do_not_overlap() -> None:
    # One of the twenty ways to choose three of six, and its mirror image
    assert permutation_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)
    assert permutation_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert permutation_p([7.0], [1.0, 2.0, 3.0]) == pytest.approx(1 / 4)


def test_the_permutation_test_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n, m in itertools.product((3, 4), (4, 5)):
        first, second = rng.normal(size=n), rng.normal(0.8, size=m)

        def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
            return np.abs(a.mean(axis=axis) - b.mean(axis=axis))

        found = stats.permutation_test((first, second), difference, alternative="greater", n_resamples=np.inf)
        assert permutation_p(list(first), list(second)) == pytest.approx(found.pvalue)


def test_gains_of_one_sign() -> None:
    assert paired_permutation_p([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert paired_permutation_p([1.0, -1.0]) == 1.0
    assert paired_permutation_p([5.0, 4.0, 3.0, 2.0, 1.0, -1.0]) == pytest.approx(6 / 64)  # all plus, or but one of the ones
