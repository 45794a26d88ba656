"""How to stay where a recording was cut: of a point on a line in a wind, all is known."""

import numpy as np
import pytest

from sb3_gac import GAC
from sb3_gac.data import Trajectory, complete_trajectories, completion
from sb3_gac.data.holding import N_NEAR, Holding
from sb3_gac.data.standardization import StandardizedObservations

WIND = 0.3
HORIZON = 100


def blow(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """One step of the point: its position and its speed, which the wind and the force change."""
    position, speed = state
    return np.array([position + 0.1 * speed, 0.95 * speed + 0.2 * (WIND + force[0])])


def drive(start: float, n_steps: int = 25, seed: int = 0, step=blow, terminated: bool = False) -> Trajectory:
    """On its way with forces that are drawn, and cut in full flight; the last step pays."""
    rng = np.random.default_rng(seed)
    states, forces = [np.array([start, rng.normal()])], rng.uniform(-1, 1, size=(n_steps, 1))
    for force in forces[:-1]:
        states.append(step(states[-1], force))
    return Trajectory(np.array(states), forces, 1.0 * (np.arange(n_steps) == n_steps - 1), terminated, not terminated)


def holding_of(trajectories: list[Trajectory], kind: type = float) -> tuple[Holding, StandardizedObservations]:
    standardized = StandardizedObservations(trajectories)
    actions = np.concatenate([trajectory.actions for trajectory in trajectories]).astype(kind)
    is_followed = np.concatenate([np.arange(len(trajectory)) < len(trajectory) - 1 for trajectory in trajectories])
    return Holding(standardized.rows.numpy(), actions, is_followed), standardized


@pytest.fixture
def known_rewards(monkeypatch) -> None:
    """The decomposition finds the rewards that were paid."""
    paid = lambda trajectories: np.concatenate([trajectory.rewards for trajectory in trajectories])  # noqa: E731
    monkeypatch.setattr(completion, "decompose_returns", paid)


DRIVES = [drive(start, seed=index) for index, start in enumerate(np.linspace(-2, 2, 60))]
ENDS = np.arange(1, 61) * 25 - 1


def test_what_is_shown_is_how_the_point_moves_and_brings_it_to_rest():
    holding, standardized = holding_of(DRIVES)
    np.random.seed(0)
    for index in (0, 17, 59):
        rows, actions = holding.stay(int(ENDS[index]), 40)
        states = standardized.restore(rows)
        assert actions.shape == (40, 1) and np.abs(actions).max() <= 1
        # No push is stronger than what was recorded
        forces = (states[1:, 1] - 0.95 * states[:-1, 1]) / 0.2 - WIND
        np.testing.assert_allclose(states[1:, 0], states[:-1, 0] + 0.1 * states[:-1, 1], atol=1e-4)
        assert np.abs(forces).max() <= 1 + 1e-3
        assert np.abs(forces - actions[:-1, 0]).max() > 0.3  # though it was pushed
        # The first state is what the last recorded action led to
        np.testing.assert_allclose(states[0], blow(DRIVES[index].observations[-1], DRIVES[index].actions[-1]), atol=1e-4)


def test_what_it_does_holds_the_point_in_the_wind():
    holding, standardized = holding_of(DRIVES)
    for index in (5, 40):
        holding.stay(int(ENDS[index]), 1)
        regulator = holding.regulators[int(ENDS[index])]
        mean, std = standardized.restore(np.zeros((1, 2)))[0], standardized.restore(np.ones((1, 2)))[0]
        state = end = DRIVES[index].observations[-1]
        for _ in range(200):
            action = regulator.act((state - mean) / (std - mean)).clip(holding.low, holding.high)
            force = action * holding.action_std + holding.action_mean
            state = blow(state, force)
        assert state[1] == pytest.approx(0, abs=1e-3)  # at rest
        assert force[0] == pytest.approx(-WIND, abs=1e-3)  # against the wind
        assert abs(state[0] - end[0]) < 0.1  # where it ended


def test_places_that_nothing_is_known_of_are_not_shown():
    rng = np.random.default_rng(0)
    noisy = [drive(0, seed=seed, step=lambda state, force: rng.normal(size=2)) for seed in range(60)]
    falling = [
        drive(0, seed=seed, step=lambda state, force: state + np.array([0.1 + 0.02 * force[0], 0])) for seed in range(60)
    ]
    few = DRIVES[: (N_NEAR - 1) // 24]
    for trajectories, kind in ((noisy, float), (falling, float), (few, float), (DRIVES, int)):
        holding, _ = holding_of(trajectories, kind)
        rows, actions = holding.stay(24, 10)
        assert rows.shape == (0, 2) and actions.shape == (0, 1)


def test_trajectories_that_go_on_end_with_staying(known_rewards):
    plain = complete_trajectories(DRIVES, HORIZON, n_hold_steps=0)
    held = complete_trajectories(DRIVES, HORIZON, n_hold_steps=15)
    farthest = max(range(60), key=lambda index: DRIVES[index].observations[:, 0].max())  # it ends where no other has been
    for index, (before, after) in enumerate(zip(plain, held, strict=True)):
        if index % 3 == 0:  # as recorded
            np.testing.assert_array_equal(before.observations, after.observations)
        if index % 3 == 1:
            assert len(after) - len(before) == (0 if index // 3 == farthest else 15)
            np.testing.assert_array_equal(before.observations, after.observations[: len(before)])
        if index % 3 < 2:  # the third kind begins at random steps
            assert after.total_return == before.total_return


def test_nothing_is_shown_beyond_the_horizon_nor_after_the_end(known_rewards):
    lengths = [len(trajectory) for trajectory in complete_trajectories(DRIVES, 30, n_hold_steps=15)[1::3]]
    assert lengths.count(30) == 59
    ended = [drive(start, seed=index, terminated=True) for index, start in enumerate(np.linspace(-2, 2, 60))]
    assert max(map(len, complete_trajectories(ended, HORIZON, n_hold_steps=15))) == 25


def test_observations_of_several_parts_are_held_alike(known_rewards):
    split = []
    for whole in DRIVES:
        parts = {"place": whole.observations[:, 0], "pace": whole.observations[:, 1:].astype(np.float32)}
        split.append(Trajectory(parts, whole.actions, whole.rewards, False, True))
    for whole, parts in zip(complete_trajectories(DRIVES, HORIZON), complete_trajectories(split, HORIZON), strict=True):
        assert parts.observations["pace"].dtype == np.float32
        np.testing.assert_allclose(parts.observations["place"], whole.observations[:, 0], atol=1e-3)
        np.testing.assert_allclose(parts.observations["pace"], whole.observations[:, 1:], atol=1e-3)


def test_a_model_learns_how_to_stay_unless_told_not_to(known_rewards):
    lengths = []
    for n_hold_steps in (0, 10):
        model = GAC("MlpLatentPolicy", completion_horizon=HORIZON, n_hold_steps=n_hold_steps, device="cpu")
        model.set_offline_data(DRIVES)
        lengths.append(model.offline_buffer.lengths[1::3])
    assert (lengths[1] - lengths[0]).sum() == 59 * 10
    with pytest.raises(ValueError, match="n_hold_steps must be at least 0, got -1"):
        GAC("MlpLatentPolicy", n_hold_steps=-1)
