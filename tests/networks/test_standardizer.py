"""Standardisation of vectors, dicts, images and codes."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_gac.networks import ObservationStandardizer
from sb3_gac.networks.standardizer import CLIP

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)


def fitted(vectors: th.Tensor) -> ObservationStandardizer:
    standardizer = ObservationStandardizer(VECTOR)
    standardizer.set_statistics(vectors)
    return standardizer


def test_changes_nothing_before_it_has_statistics():
    vectors = th.randn(5, 3)
    standardizer = ObservationStandardizer(VECTOR)
    assert th.equal(standardizer(vectors), vectors)


@settings(max_examples=30, deadline=None)
@given(mean=st.floats(-100, 100), std=st.floats(0.01, 100))
def test_zero_mean_and_unit_variance(mean, std):
    vectors = mean + std * th.randn(200, 3, generator=th.Generator().manual_seed(0))
    standardised = fitted(vectors)(vectors)
    th.testing.assert_close(standardised.mean(dim=0), th.zeros(3), rtol=0, atol=1e-2)
    th.testing.assert_close(standardised.std(dim=0, correction=0), th.ones(3), rtol=0, atol=1e-2)


def test_by_hand():
    vectors = th.tensor([[0.0, 10.0, -1.0], [4.0, 30.0, 1.0]])
    standardizer = fitted(vectors)
    assert standardizer(th.tensor([[2.0, 40.0, 1.0]])).tolist() == [[0.0, 2.0, 1.0]]


def test_a_constant_dimension_is_zero_and_never_explodes():
    vectors = th.tensor([[7.0, 0.0, 1.0]]).repeat(100, 1)
    standardizer = fitted(vectors)
    assert (standardizer(vectors) == 0).all()
    assert standardizer(th.tensor([[1e6, -1e6, 1.0]])).tolist() == [[CLIP, -CLIP, 0.0]]


def test_one_observation_is_enough():
    standardizer = fitted(th.ones(1, 3))
    assert th.isfinite(standardizer(th.randn(4, 3))).all()


def test_keeps_leading_shapes():
    space = spaces.Box(-1.0, 1.0, (2, 3), np.float32)
    standardizer = ObservationStandardizer(space)
    vectors = th.randn(20, 2, 3)
    standardizer.set_statistics(vectors)
    assert standardizer(vectors).shape == (20, 2, 3)
    th.testing.assert_close(standardizer(vectors.view(4, 5, 2, 3)).view(20, 2, 3), standardizer(vectors))


@pytest.mark.parametrize("space", [IMAGE, spaces.Discrete(4), spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(4)])
def test_images_and_codes_pass_unchanged(space):
    standardizer = ObservationStandardizer(space)
    shape = (3, 36, 36) if space is IMAGE else (4,)
    preprocessed = th.rand(6, *shape)
    standardizer.set_statistics(preprocessed)
    assert th.equal(standardizer(preprocessed), preprocessed)
    assert standardizer.state_dict() == {}


def test_images_that_come_normalised_pass_unchanged():
    space = spaces.Box(0.0, 1.0, (3, 36, 36), np.float32)
    assert ObservationStandardizer(space, normalize_images=False).state_dict() == {}
    assert ObservationStandardizer(space, normalize_images=True).state_dict() != {}


def test_every_part_of_a_dict_by_its_own_statistics():
    space = spaces.Dict({"arm.joint": VECTOR, "code": spaces.Discrete(2), "camera": IMAGE, "": VECTOR})
    standardizer = ObservationStandardizer(space)
    observations = {
        "arm.joint": 5 + 2 * th.randn(50, 3),
        "code": th.eye(2)[th.randint(2, (50,))],
        "camera": th.rand(50, 3, 36, 36),
        "": -3 + 7 * th.randn(50, 3),
    }
    standardizer.set_statistics(observations)
    standardised = standardizer(observations)
    assert standardised.keys() == observations.keys()
    for key in ("code", "camera"):
        assert th.equal(standardised[key], observations[key])
    for key in ("arm.joint", ""):
        th.testing.assert_close(standardised[key], fitted(observations[key])(observations[key]))


def test_statistics_are_saved():
    vectors = 5 + 2 * th.randn(50, 3)
    standardizer = fitted(vectors)
    loaded = ObservationStandardizer(VECTOR)
    loaded.load_state_dict(standardizer.state_dict())
    assert th.equal(loaded(vectors), standardizer(vectors))
