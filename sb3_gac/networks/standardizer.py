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
    Mean and standard deviation of a vector, and the box its value lay in at the start of trajectories.

    :param shape: Shape of one vector.
    """

    mean: th.Tensor
    std: th.Tensor
    start_low: th.Tensor
    start_high: th.Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(shape))
        self.register_buffer("std", th.ones(shape))
        self.register_buffer("start_low", th.full(shape, -th.inf))
        self.register_buffer("start_high", th.full(shape, th.inf))

    def set_statistics(self, vectors: th.Tensor, start_vectors: th.Tensor) -> None:
        """
        Take the statistics of a sample.

        :param vectors: Sample of vectors, of shape ``(n_vectors, *shape)``, in any dtype.
        :param start_vectors: Sample of first vectors of trajectories, of shape ``(n_trajectories, *shape)``, in any dtype.
        """
        vectors, start_vectors = vectors.float(), start_vectors.float()
        self.mean.copy_(vectors.mean(dim=0))
        self.std.copy_(vectors.std(dim=0, correction=0).clamp(min=MIN_STD))
        self.start_low.copy_(start_vectors.amin(dim=0))
        self.start_high.copy_(start_vectors.amax(dim=0))

    def forward(self, vectors: th.Tensor, at_start: bool = False) -> th.Tensor:
        """
        Standardised vectors, clipped to ±10 standard deviations.

        :param vectors: Vectors of shape ``(..., *shape)``.
        :param at_start: Whether to move the vectors into the box trajectories have started from first, so that a plan made in
            the middle of a trajectory never asks the prior or the return predictor about what they have not seen.
        """
        if at_start:
            vectors = vectors.clamp(self.start_low, self.start_high)
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

    def set_statistics(self, observations: TensorObs, first_observations: TensorObs) -> None:
        """
        Take the statistics of a sample of observations.

        :param observations: Observations of shape ``(n_observations, *obs_shape)``, or a dict of such tensors.
        :param first_observations: First observations of trajectories, of shape ``(n_trajectories, *obs_shape)``.
        """
        first_vectors = _by_key(first_observations)
        for key, vectors in _by_key(observations).items():
            if (standardizer := self._standardizer(key)) is not None:
                standardizer.set_statistics(vectors, first_vectors[key])

    def forward(self, observations: TensorObs, at_start: bool = False) -> TensorObs:
        """
        Standardised observations.

        :param observations: Preprocessed observations of shape ``(batch_size, *obs_shape)``, or a dict of such tensors.
        :param at_start: Whether the observations are to be read as the start of a trajectory.
        """
        if isinstance(observations, dict):
            return {key: self._standardise(key, vectors, at_start) for key, vectors in observations.items()}
        return self._standardise("", observations, at_start)

    def _standardise(self, key: str, vectors: th.Tensor, at_start: bool) -> th.Tensor:
        standardizer = self._standardizer(key)
        if standardizer is None:
            return vectors
        standardised: th.Tensor = standardizer(vectors, at_start)
        return standardised

    def _standardizer(self, key: str) -> VectorStandardizer | None:
        name = self._name(key)
        if name not in self.standardizers:
            return None
        standardizer = self.standardizers[name]
        assert isinstance(standardizer, VectorStandardizer)
        return standardizer


def _by_key(observations: TensorObs) -> dict[str, th.Tensor]:
    return observations if isinstance(observations, dict) else {"": observations}
