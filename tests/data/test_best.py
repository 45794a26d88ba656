"""Which trajectories count as the best."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from sb3_gac import GAC
from sb3_gac.data import Trajectory, TrajectoryReplayBuffer

SMALL = dict(policy_kwargs=dict(net_arch=[16]), n_encode_steps=4, n_score_steps=4, batch_size=8, seed=0, device="cpu")


def trajectories() -> list[Trajectory]:
    """Starts at 0 return 0 or 1, starts at 1 return 10 or 11: the good ones are those that return the 1 more."""
    return [
        Trajectory(np.full((5, 3), start, np.float32), np.zeros((5, 1), np.float32), np.full(5, total / 5), False, True)
        for start, total in ((0.0, 0.0), (0.0, 1.0), (1.0, 10.0), (1.0, 11.0))
        for _ in range(25)
    ]


@pytest.fixture
def buffer() -> TrajectoryReplayBuffer:
    env = gym.make("Pendulum-v1")
    buffer = TrajectoryReplayBuffer(500, env.observation_space, env.action_space, device="cpu")
    for trajectory in trajectories():
        buffer.add_trajectory(trajectory)
    return buffer


def test_with_a_baseline_the_best_exceed_what_their_start_lets_expect(buffer):
    batch = buffer.sample(64, 8, None, 0.5, 0.25, baseline=lambda first: 10 * first[:, 0])
    best = batch.returns[:32].round().long()
    assert set(best.tolist()) == {1, 11}  # and not the highest returns, 10 and 11
    assert set(batch.returns[32:].round().long().tolist()) == {0, 1, 10, 11}
    assert batch.observations.shape == (64, 8, 3)
    th.testing.assert_close(batch.first_observations[:, 0], (batch.returns > 5).float())


def test_without_a_baseline_the_best_have_the_highest_returns(buffer):
    batch = buffer.sample(64, 8, None, 0.5, 0.25)
    assert set(batch.returns[:32].round().long().tolist()) == {11}


def test_learns_by_advantage():
    model = GAC("MlpLatentPolicy", gym.make("Pendulum-v1"), best_by="advantage", **SMALL)
    model.learn_offline(trajectories(), gradient_steps=3)
    assert model._n_updates == 3


def test_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="best_by"):
        GAC("MlpLatentPolicy", gym.make("Pendulum-v1"), best_by="luck", **SMALL)
