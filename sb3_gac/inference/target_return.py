"""The moving target of exploration."""

from dataclasses import dataclass

import numpy as np


@dataclass
class TargetReturn:
    """
    Return that exploration asks for: a quantile of the returns that are learnt from, moved by what rollouts reach.

    A rollout that reaches the target raises it by ``rise`` standard deviations of the known returns; one that misses it
    lowers it by ``fall``. It never falls below the quantile it started from, which itself rises with the data, nor
    rises more than ``headroom`` standard deviations above the best return known.

    :param quantile: Quantile of the known returns to start from, in [0, 1].
    :param rise: Standard deviations added when a rollout reaches the target.
    :param fall: Standard deviations subtracted when a rollout misses it.
    :param headroom: Standard deviations the target may stand above the best known return.
    """

    quantile: float = 0.9
    rise: float = 0.1
    fall: float = 0.02
    headroom: float = 0.5
    value: float | None = None
    low: float = 0.0
    high: float = 0.0
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"target quantile must lie in [0, 1], got {self.quantile}")
        for name in ("rise", "fall", "headroom"):
            if getattr(self, name) < 0:
                raise ValueError(f"target {name} must not be negative, got {getattr(self, name)}")

    def fit(self, returns: np.ndarray) -> None:
        """
        Take the bounds from the known returns, and start at the lower one.

        :param returns: Sample of the returns that are learnt from, in env units, of shape ``(n_trajectories,)``.
        """
        returns = returns.astype(np.float64)  # squares of large ones do not fit float32
        self.unit = float(returns.std())
        self.low = float(np.quantile(returns, self.quantile))
        self.high = float(returns.max()) + self.headroom * self.unit
        self.value = self.low if self.value is None else min(max(self.value, self.low), self.high)

    def update(self, achieved_return: float) -> None:
        """
        Move the target by one finished rollout.

        :param achieved_return: Return of the rollout in env units.
        """
        if self.value is None:  # nothing was known when the rollout started
            return
        self.high = max(self.high, achieved_return + self.headroom * self.unit)
        moved = self.value + self.unit * (self.rise if achieved_return >= self.value else -self.fall)
        self.value = min(max(moved, self.low), self.high)
