"""How sure we are of a mean."""

from typing import Any, NamedTuple

import numpy as np


class Interval(NamedTuple):
    """
    A mean and the bootstrap interval around it.

    :param mean: Mean of the values.
    :param low: Lower end of the interval.
    :param high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float


def bootstrap_interval(values: Any, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0) -> Interval:
    """
    Mean of the values and its percentile bootstrap interval.

    :param values: Independent values, such as returns of episodes of one model, or one mean score per training seed.
    :param level: Share of the resampled means that lies in the interval.
    :param n_resamples: Number of times as many values are drawn with replacement.
    :param seed: Seed of the resampling: the same values have the same interval.
    :raises ValueError: when there is no value.
    """
    values = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(values) == 0:
        raise ValueError("no values to take the mean of")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(n_resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))
