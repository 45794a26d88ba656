"""Values and rewards in env units, standardised inside."""

import pytest
import torch as th
from torch import nn

from sb3_gac.networks import ScalarPredictor


@pytest.fixture
def predictor() -> ScalarPredictor:
    return ScalarPredictor(3, [8], nn.Tanh, n_members=2)


def test_it_starts_as_the_first_mean(predictor):
    assert predictor.is_new
    predictor.set_statistics(7.0, 2.0)
    assert not predictor.is_new
    th.testing.assert_close(predictor.predict(th.randn(5, 3)), th.full((2, 5), 7.0, dtype=th.float64))


def test_new_statistics_change_no_prediction(predictor):
    predictor.set_statistics(7.0, 2.0)
    with th.no_grad():
        for parameter in predictor.parameters():
            parameter.copy_(th.randn_like(parameter))
    inputs = th.randn(5, 3)
    before, standardised = predictor.predict(inputs), predictor(inputs)
    predictor.set_statistics(-30.0, 0.5)
    th.testing.assert_close(predictor.predict(inputs), before, rtol=1e-5, atol=1e-5)
    th.testing.assert_close(predictor(inputs), ((7.0 + 2.0 * standardised) + 30.0) / 0.5, rtol=1e-4, atol=1e-4)


def test_targets_are_standardised_by_the_same_statistics(predictor):
    predictor.set_statistics(7.0, 2.0)
    th.testing.assert_close(predictor.standardise(th.tensor([7.0, 9.0], dtype=th.float64)), th.tensor([0.0, 1.0]))


def test_each_member_may_have_inputs_of_its_own(predictor):
    predictor.set_statistics(0.0, 1.0)
    with th.no_grad():
        predictor.head.weight.normal_()
    first, second = th.randn(2, 4, 3)
    mixed = predictor(th.stack([first, second]))
    th.testing.assert_close(mixed[0], predictor(first)[0])
    th.testing.assert_close(mixed[1], predictor(second)[1])
    assert not th.allclose(mixed[0], predictor(first)[1])  # members differ
