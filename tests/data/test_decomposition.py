"""Which steps the returns come from."""

import numpy as np
import pytest
import torch as th

from sb3_gac.data import Trajectory
from sb3_gac.data.decomposition import ReturnDecomposition


def walk(n_steps: int, rng: np.random.Generator) -> Trajectory:
    """A walk on a line that pays 1 per step spent within half a unit of the origin."""
    positions = rng.uniform(-3, 3) + np.cumsum(rng.normal(scale=0.3, size=n_steps))
    rewards = (np.abs(positions) < 0.5).astype(np.float64)
    return Trajectory(positions[:, None].astype(np.float32), np.zeros((n_steps, 1)), rewards, False, True)


def test_rewards_are_found_from_returns_alone():
    rng = np.random.default_rng(0)
    walks = [walk(30, rng) for _ in range(200)]
    th.manual_seed(0)
    rewards = ReturnDecomposition([trajectory.return_only() for trajectory in walks]).rewards
    returns = [trajectory.total_return for trajectory in walks]
    assert rewards.shape == (200 * 30,)
    assert np.corrcoef(rewards.reshape(200, 30).sum(axis=1), returns)[0, 1] > 0.99
    positions = np.concatenate([trajectory.observations[:, 0] for trajectory in walks])
    assert rewards[np.abs(positions) < 0.3].mean() > 0.8
    assert np.abs(rewards[np.abs(positions) > 0.8]).mean() < 0.1


def test_returns_that_are_all_the_same_are_explained_too():
    """Walks of different lengths to a goal where each ends: only the goal can have paid."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 40, size=100)
    walks = []
    for n_steps in lengths:
        rewards = np.zeros(n_steps)
        rewards[-1] = 1.0
        walks.append(
            Trajectory(np.linspace(rng.uniform(-3, -1), 0, n_steps)[:, None], np.zeros((n_steps, 1)), rewards, False, True)
        )
    th.manual_seed(0)
    parts = np.split(ReturnDecomposition(walks).rewards, lengths.cumsum()[:-1])
    assert np.mean([part.sum() for part in parts]) == pytest.approx(1.0, abs=0.05)
    assert [part.sum() for part in parts] == pytest.approx([1.0] * 100, abs=0.5)
    assert np.mean([part[-1] for part in parts]) > 5 * np.mean([part[:-5].mean() for part in parts])


def test_images_are_refused():
    images = Trajectory(np.zeros((20, 3, 8, 8), np.uint8), np.zeros((20, 1)), np.zeros(20), False, True)
    with pytest.raises(ValueError, match="are images"):
        ReturnDecomposition([images])
