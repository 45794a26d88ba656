"""Standardisation of observations with statistics kept in the model."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import nn

from sb3_gac.type_aliases import TensorObs

CLIP = 10.0
MIN_STD = 1e-3


class VectorStandardizer(nn.Module):
    """
    Mean and standard deviation of a vector.

    :param shape: Shape of one vector.
    """

    mean: th.Tensor
    std: th.Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(shape))
        self.register_buffer("std", th.ones(shape))

    def set_statistics(self, vectors: th.Tensor) -> None:
        """
        Take the statistics of a sample.

        :param vectors: Sample of vectors, of shape ``(n_vectors, *shape)``, in any dtype.
        """
        vectors = vectors.float()
        self.mean.copy_(vectors.mean(dim=0))
        self.std.copy_(vectors.std(dim=0, correction=0).clamp(min=MIN_STD))

    def forward(self, vectors: th.Tensor) -> th.Tensor:
        """
        Standardised vectors, clipped to ±10 standard deviations.

        :param vectors: Vectors of shape ``(..., *shape)``.
        """
        return ((vectors - self.mean) / self.std).clamp(-CLIP, CLIP)


class ObservationStandardizer(nn.Module):
    """
    Standardise the continuous parts of an observation; images and one-hot codes pass unchanged.

    :param observation_space: Space of the observations.
    :param normalize_images: Whether images are divided by 255 before they come here.
    """

    def __init__(self, observation_space: spaces.Space[Any], normalize_images: bool = True) -> None:
        super().__init__()
        parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        self.standardizers = nn.ModuleDict()
        for key, space in parts.items():
            is_image = is_image_space(space, normalized_image=not normalize_images)
            if isinstance(space, spaces.Box) and not is_image:
                self.standardizers[self._name(key)] = VectorStandardizer(space.shape)

    @staticmethod
    def _name(key: str) -> str:
        return "vector_" + key.replace(".", "_")  # module names are never empty and hold no dot

    def set_statistics(self, observations: TensorObs) -> None:
        """
        Take the statistics of a sample of observations.

        :param observations: Observations of shape ``(n_observations, *obs_shape)``, or a dict of such tensors.
        """
        for key, vectors in observations.items() if isinstance(observations, dict) else [("", observations)]:
            if (standardizer := self._standardizer(key)) is not None:
                standardizer.set_statistics(vectors)

    def forward(self, observations: TensorObs) -> TensorObs:
        """
        Standardised observations.

        :param observations: Preprocessed observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        """
        if isinstance(observations, dict):
            return {key: self._standardise(key, vectors) for key, vectors in observations.items()}
        return self._standardise("", observations)

    def _standardise(self, key: str, vectors: th.Tensor) -> th.Tensor:
        standardizer = self._standardizer(key)
        if standardizer is None:
            return vectors
        standardised: th.Tensor = standardizer(vectors)
        return standardised

    def _standardizer(self, key: str) -> VectorStandardizer | None:
        name = self._name(key)
        if name not in self.standardizers:
            return None
        standardizer = self.standardizers[name]
        assert isinstance(standardizer, VectorStandardizer)
        return standardizer
