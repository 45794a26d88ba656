"""Random Fourier features: what changes within a small distance, for a network that would learn it last."""

import torch as th
from torch import nn


class FourierFeatures(nn.Module):
    """
    Features followed by the sines and cosines of random, fixed projections of them.

    A network of the bare features learns what varies slowly first, and what differs between the two sides of a wall last
    (arXiv 2006.10739).

    :param features_dim: Size of the features; standardised, they are of about unit spread.
    :param n_waves: Number of projections.
    :param scale: Standard deviation of the waves' numbers, in radians per unit of each feature.
    """

    numbers: th.Tensor

    def __init__(self, features_dim: int, n_waves: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("numbers", scale * th.randn(features_dim, n_waves))
        self.out_dim = features_dim + 2 * n_waves

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Features and their waves, of shape ``(..., features_dim + 2 * n_waves)``.

        :param features: Features of shape ``(..., features_dim)``.
        """
        waves = features @ self.numbers
        return th.cat((features, waves.sin(), waves.cos()), dim=-1)
