"""How sure we are of a difference: intervals over seeds and tasks, and exact permutation tests, by SciPy."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from sb3_gac.plots.interval import Interval
from sb3_gac.type_aliases import Array

N_RESAMPLES = 5_000
LEVEL = 0.95


def t_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % t interval over seeds; of a single seed, NaN."""
    from scipy import stats

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return Interval(mean, mean - half, mean + half)


def interquartile_mean(values: Array) -> Array:
    """Mean of the middle half of the values, of shape (..., n): a quarter of n is left out on either side, rounded down."""
    from scipy import stats

    middle: Array = stats.trim_mean(values, 0.25, axis=-1)
    return middle


def stratified_interval(
    scores: Sequence[Sequence[float]], statistic: Callable[[Array], Array] = interquartile_mean, seed: int = 0
) -> Interval:
    """
    A statistic over all runs of several tasks and its 95 % bootstrap interval, seeds resampled within each task.

    As in "Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv 2108.13264, but that deviations from
    the mean of a task are widened to an unbiased variance: with few seeds the interval is too narrow otherwise.

    :param scores: Of each task, one per seed.
    :param statistic: Of all runs, over the last axis.
    :param seed: Of the resampling.
    :return: NaN ends when a task has one seed.
    """
    rng = np.random.default_rng(seed)
    tasks = [np.asarray(values, dtype=np.float64) for values in scores]
    value = float(statistic(np.concatenate(tasks)))
    if min(map(len, tasks)) == 1:
        return Interval(value, math.nan, math.nan)
    widened = [values.mean() + math.sqrt(len(values) / (len(values) - 1)) * (values - values.mean()) for values in tasks]
    drawn = [values[rng.integers(len(values), size=(N_RESAMPLES, len(values)))] for values in widened]
    ends = np.quantile(statistic(np.concatenate(drawn, axis=1)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(ends[0]), float(ends[1]))


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """
    Exact two-sided p that the means of two groups of seeds differ as much by chance.

    :param first: Scores of one method.
    :param second: Those of the other.
    """
    pooled = np.array([*first, *second], dtype=np.float64)
    chosen = np.array(list(itertools.combinations(range(len(pooled)), len(first))))  # (n_permutations, n_first)
    sums = pooled[chosen].sum(axis=1)
    differences = sums / len(first) - (pooled.sum() - sums) / len(second)
    return _share_as_large(differences, float(np.mean(first) - np.mean(second)))


def paired_permutation_p(gains: Sequence[float]) -> float:
    """
    Exact two-sided p that the mean of paired differences is as far from zero by chance, over all signs.

    :param gains: One per seed.
    """
    array = np.asarray(gains, dtype=np.float64)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(array))))  # (2^n, n)
    return _share_as_large((signs * array).mean(axis=1), float(array.mean()))


def _share_as_large(differences: Array, found: float) -> float:
    return float(np.mean(np.abs(differences) >= abs(found) - 1e-9 * (1.0 + abs(found))))
