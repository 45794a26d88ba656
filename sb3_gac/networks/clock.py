"""The clock of a plan, as the decoder sees it."""

import torch as th
from torch import nn

MIN_STD = 0.05  # of times that lie in [0, 1)


class Clock(nn.Module):
    """
    Age of a plan as a number that slows down, age / (age + scale), standardised as an observation is.

    Left as it is, it is by far the weakest input of the decoder, and what depends on the time alone is not learnt.

    :param scale: Age, in steps, at which it stands halfway.
    """

    mean: th.Tensor
    std: th.Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", th.zeros(()))
        self.register_buffer("std", th.ones(()))

    def set_statistics(self, ages: th.Tensor) -> None:
        """
        Take the statistics of a sample.

        :param ages: Sampled ages, in steps, of any shape.
        """
        times = self._saturate(ages)
        self.mean.copy_(times.mean())
        self.std.copy_(times.std(correction=0).clamp(min=MIN_STD))

    def forward(self, ages: th.Tensor) -> th.Tensor:
        """
        Standardised times, of the shape of the ages.

        :param ages: Number of actions taken with each plan before, of any shape.
        """
        return (self._saturate(ages) - self.mean) / self.std

    def _saturate(self, ages: th.Tensor) -> th.Tensor:
        return ages / (ages + self.scale)
