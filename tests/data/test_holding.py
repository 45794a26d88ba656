"""How to stay where a recording was cut: of a point on a line in a wind, all is known."""

import numpy as np
import pytest

from sb3_gac import GAC
from sb3_gac.data import Trajectory, complete_trajectories, completion
from sb3_gac.data.holding import N_NEAR, Holding
from sb3_gac.data.standardization import StandardizedObservations
from tests.data.paid_rewards import PaidRewards

WIND = 0.3
HORIZON = 100


def blow(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """One step of the point: its position and its speed, which the wind and the force change."""
    position, speed = state
    return np.array([position + 0.1 * speed, 0.95 * speed + 0.2 * (WIND + force[0])])


def drive(start: float, seed: int, step=blow, speed: float = 1.0, terminated: bool = False) -> Trajectory:
    """On its way with forces that are drawn, and cut in full flight; the last step pays."""
    n_steps, rng = 25, np.random.default_rng(seed)
    states, forces = [np.array([start, speed * rng.normal()])], rng.uniform(-1, 1, size=(n_steps, 1))
    for force in forces[:-1]:
        states.append(step(states[-1], force))
    return Trajectory(np.array(states), forces, 1.0 * (np.arange(n_steps) == n_steps - 1), terminated, not terminated)


def holding_of(trajectories: list[Trajectory]) -> tuple[Holding, StandardizedObservations]:
    standardized = StandardizedObservations(trajectories)
    actions = np.concatenate([trajectory.actions for trajectory in trajectories])
    is_followed = np.concatenate([np.arange(len(trajectory)) < len(trajectory) - 1 for trajectory in trajectories])
    return Holding(standardized.rows.numpy(), actions, is_followed), standardized


@pytest.fixture
def known_rewards(monkeypatch) -> None:
    """The decomposition finds the rewards that were paid."""
    monkeypatch.setattr(completion, "ReturnDecomposition", PaidRewards)


DRIVES = [drive(start, seed=index) for index, start in enumerate(np.linspace(-2, 2, 60))]
ENDS = np.arange(1, 61) * 25 - 1
INNER = [index for index, whole in enumerate(DRIVES) if abs(whole.observations[-1, 0]) < 3]  # others are pushed too far out


def test_what_is_shown_is_how_the_point_moves_and_brings_it_to_rest():
    holding, standardized = holding_of(DRIVES)
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


def breeze(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """A point that a drag slows, in a wind that is another one everywhere: linear nowhere but in the small."""
    position, speed = state
    wind = 0.5 * np.sin(position)
    return np.array([position + 0.1 * speed, speed - 0.05 * speed * abs(speed) + 0.2 * (wind + force[0])])


@pytest.mark.parametrize("step, wind", [(blow, lambda position: WIND), (breeze, lambda position: 0.5 * np.sin(position))])
def test_what_it_does_holds_the_point_in_the_wind(step, wind):
    drives = [drive(start, seed=index, step=step, speed=2.0) for index, start in enumerate(np.linspace(-2, 2, 300))]
    holding, standardized = holding_of(drives)
    origin, unit = (standardized.restore(np.full((1, 2), value))[0] for value in (0, 1))
    for index in (50, 100, 190):
        state = end = drives[index].observations[-1]
        last = 25 * (index + 1) - 1
        assert len(holding.stay(last, 5)[0]) == 5
        for _ in range(300):
            action = holding._clip(holding.regulators[last].act((state - origin) / (unit - origin)))
            force = action * holding.action_std + holding.action_mean
            state = step(state, force)
        assert state[1] == pytest.approx(0, abs=1e-3)  # at rest
        assert force[0] == pytest.approx(-wind(state[0]), abs=1e-3)  # against the wind
        assert abs(state[0] - end[0]) < 1.5  # about where it ended; it spans nine


def test_a_tenth_too_much_force_moves_the_rest_by_a_tenth_of_a_unit_at_most():
    drives = [drive(start, seed=index, speed=2.0) for index, start in enumerate(np.linspace(-2, 2, 300))]
    holding, standardized = holding_of(drives)
    origin, unit = (standardized.restore(np.full((1, 2), value))[0] for value in (0, 1))
    holding.stay(25 * 101 - 1, 1)
    regulator, state = holding.regulators[25 * 101 - 1], drives[100].observations[-1]
    for _ in range(300):
        action = holding._clip(regulator.act((state - origin) / (unit - origin)))
        state = blow(state, action * holding.action_std + holding.action_mean + 0.1)
    assert state[1] == pytest.approx(0, abs=1e-3)
    assert 0.01 < state[0] - (regulator.rest * (unit - origin) + origin)[0] < 0.1


def topple(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """A rod that its small force can no longer right where it was cut."""
    angle, speed = state
    return np.array([angle + 0.1 * speed, speed + angle + 0.02 * force[0]])


def noise(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    return np.random.default_rng(state.view(np.uint64)).normal(size=2)


def fall(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    return state + np.array([0.1 + 0.02 * force[0], 0])


def creep(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Towards one side, a little less when it is pulled as hard as can be."""
    return state + np.array([0.012 + 0.01 * force[0], 0])


def glide(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Towards one side, whatever is done."""
    return state + np.array([0.02, 0.01 * force[0]])


@pytest.mark.parametrize("step", [noise, fall, creep, glide, topple])
def test_where_it_cannot_be_stayed_nothing_is_shown(step):
    holding, _ = holding_of([drive(0, seed=seed, step=step) for seed in range(60)])
    for end in ENDS[:20]:
        rows, actions = holding.stay(int(end), 20)
        assert rows.shape == (0, 2) and actions.shape == (0, 1)


def test_of_few_transitions_for_what_is_observed_nothing_is_known():
    rng = np.random.default_rng(0)
    few, _ = holding_of(DRIVES[: (N_NEAR - 1) // 24])
    wide = Holding(rng.normal(size=(2000, 150)), rng.normal(size=(2000, 1)), np.arange(2000) % 25 < 24)
    for holding in (few, wide):
        assert len(holding.stay(24, 10)[0]) == 0


@pytest.mark.parametrize("goals", [[0.7], [33.3], [0.0, 1.0], [0.0, 1.0, 2.0, 3.0]])
def test_a_goal_that_stays_the_same_is_no_hindrance(goals):
    drives = []
    for index, whole in enumerate(DRIVES * 4):
        observations = np.column_stack((whole.observations, np.full(25, goals[index % len(goals)])))
        drives.append(Trajectory(observations, whole.actions, whole.rewards, False, True))
    holding, standardized = holding_of(drives)
    for index in INNER:
        rows, _ = holding.stay(int(ENDS[index]), 10)
        assert standardized.restore(rows)[:, 2] == pytest.approx(np.full(10, goals[index % len(goals)]), abs=1e-4)


def test_an_action_that_is_always_the_same_is_no_hindrance():
    drives = [
        Trajectory(d.observations, np.column_stack((d.actions, np.full(25, 33.3))), d.rewards, False, True) for d in DRIVES
    ]
    holding, _ = holding_of(drives)
    for end in ENDS[INNER]:
        assert holding.stay(int(end), 10)[1][:, 1] == pytest.approx(np.full(10, 33.3))


def test_trajectories_that_go_on_end_with_staying(known_rewards):
    plain = complete_trajectories(DRIVES, HORIZON, n_hold_steps=0)
    held = complete_trajectories(DRIVES, HORIZON, n_hold_steps=15)
    for index, (before, after) in enumerate(zip(plain, held, strict=True)):
        if index % 3 == 0:  # as recorded
            np.testing.assert_array_equal(before.observations, after.observations)
        else:
            assert len(after) - len(before) == 15
            np.testing.assert_array_equal(before.observations, after.observations[: len(before)])
        assert after.total_return == before.total_return


def test_to_stay_is_worth_what_it_returns_at_rest():
    holding, _ = holding_of(DRIVES)
    for end in ENDS[INNER]:
        assert len(holding.stay(int(end), 1)[0]) == 1
        np.testing.assert_array_equal(holding.rest(int(end)), holding.regulators[int(end)].rest)
    unknown, _ = holding_of([drive(0, seed=seed, step=noise) for seed in range(60)])
    np.testing.assert_array_equal(unknown.rest(24), unknown.rows[24])


def test_a_rest_beyond_what_was_recorded_is_none():
    """On a slope the point was seen, not in the valley."""

    def roll(state: np.ndarray, force: np.ndarray) -> np.ndarray:
        position, speed = state
        return np.array([position + 0.1 * speed, speed + 0.002 * (0.05 * force[0] - position)])

    drives = [drive(start, seed=index, step=roll, speed=0.3) for index, start in enumerate(np.linspace(2, 3, 60))]
    holding, _ = holding_of(drives)
    assert all(holding._regulator(int(end)) is None for end in ENDS)


def test_nothing_is_shown_beyond_the_horizon_nor_after_the_end(known_rewards):
    lengths = [len(trajectory) for trajectory in complete_trajectories(DRIVES, 30, n_hold_steps=15)[1::3]]
    assert lengths.count(30) == 60
    ended = [drive(start, seed=index, terminated=True) for index, start in enumerate(np.linspace(-2, 2, 60))]
    assert max(map(len, complete_trajectories(ended, HORIZON, n_hold_steps=15))) == 25


@pytest.mark.parametrize("part", ["observations", "actions"])
def test_whole_numbers_are_not_simulated(known_rewards, part):
    counted = []
    for index, whole in enumerate(DRIVES):
        observations, actions = {"state": whole.observations, "room": np.full(25, index % 4)}, whole.actions
        if part == "actions":
            observations, actions = {"state": whole.observations}, np.sign(actions).astype(np.int64)
        counted.append(Trajectory(observations, actions, whole.rewards, False, True))
    plain = complete_trajectories(counted, HORIZON, n_hold_steps=0)
    for before, after in zip(plain, complete_trajectories(counted, HORIZON), strict=True):
        np.testing.assert_array_equal(before.actions, after.actions)


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
    assert ((lengths[1] - lengths[0])[INNER] == 10).all()
    with pytest.raises(ValueError, match="n_hold_steps must not be negative, got -1"):
        complete_trajectories(DRIVES, HORIZON, n_hold_steps=-1)
    with pytest.raises(ValueError, match="n_hold_steps must be at least 0, got -1"):
        GAC("MlpLatentPolicy", n_hold_steps=-1)
