"""Observations as rows of numbers of about unit spread, and back."""

import numpy as np
import pytest

from sb3_gac.data import Trajectory
from sb3_gac.data.standardization import StandardizedObservations


def test_observations_are_standardised_over_all_steps():
    rng = np.random.default_rng(0)
    parts = [{"a": rng.normal(5, 3, size=(n, 2)), "b": rng.normal(-1, 0.1, size=n), "c": np.ones(n)} for n in (50, 70)]
    trajectories = [Trajectory(part, np.zeros((len(part["b"]), 1)), np.zeros(len(part["b"])), False, True) for part in parts]
    rows = StandardizedObservations(trajectories).rows
    assert rows.shape == (120, 4)
    assert rows.mean(dim=0).numpy() == pytest.approx(np.zeros(4), abs=1e-5)
    assert rows.std(dim=0, correction=0).numpy() == pytest.approx(np.array([1, 1, 1, 0]), abs=1e-5)


def test_what_never_changes_says_nothing():
    """The mean of a constant is only nearly that constant."""
    rng = np.random.default_rng(0)
    for constant in (0.7, 33.3, 100.7):
        rows = np.column_stack((rng.normal(size=1000), np.full(1000, constant))).astype(np.float32)
        standardized = StandardizedObservations([Trajectory(rows, np.zeros((1000, 1)), np.zeros(1000), False, True)]).rows
        assert (standardized[:, 1] == 0).all()
        assert standardized[:, 0].std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_the_keys_of_a_dict_may_come_in_any_order():
    a, b = np.arange(20.0).reshape(2, 10), np.arange(100.0, 120.0).reshape(2, 10)
    orders = ({"a": a[0], "b": b[0]}, {"b": b[1], "a": a[1]})
    rows = StandardizedObservations([Trajectory(part, np.zeros((10, 1)), np.zeros(10), False, True) for part in orders]).rows
    np.testing.assert_allclose(rows[:, 0], rows[:, 1], atol=1e-5)
    assert (rows[1:] > rows[:-1]).all()


def test_what_was_standardised_is_restored():
    rng = np.random.default_rng(0)
    whole = {"b": rng.normal(5, 3, size=(40, 2)), "a": rng.normal(size=40).astype(np.float32), "c": np.full((40, 1), 33.3)}
    standardized = StandardizedObservations([Trajectory(whole, np.zeros((40, 1)), np.zeros(40), False, True)])
    restored = standardized.restore(standardized.rows[10:20].numpy())
    assert standardized.is_continuous and set(restored) == set(whole)
    for key, array in whole.items():
        assert restored[key].dtype == array.dtype
        np.testing.assert_allclose(restored[key], array[10:20], rtol=1e-5, atol=1e-5)
    counted = {"a": whole["a"], "b": np.arange(40)}
    assert not StandardizedObservations([Trajectory(counted, np.zeros((40, 1)), np.zeros(40), False, True)]).is_continuous
