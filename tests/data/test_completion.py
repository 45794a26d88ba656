"""What trajectories that were cut would have gone on to do."""

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_gac import GAC
from sb3_gac.data import Trajectory, complete_trajectories, completion, decomposition
from sb3_gac.data.completion import MIN_REST
from sb3_gac.data.ways import TIME_UNIT
from tests.data.paid_rewards import PaidRewards

HORIZON = 100


def path(start: float, end: float, n_steps: int, rewards: float | np.ndarray = 0.0, terminated: bool = False) -> Trajectory:
    """A straight way on a line; the actions tell the recordings apart."""
    positions = np.linspace(start, end, n_steps)[:, None]
    actions = np.full((n_steps, 1), start)
    return Trajectory(positions, actions, np.broadcast_to(rewards, n_steps).astype(np.float64), terminated, not terminated)


@pytest.fixture(autouse=True)
def known_rewards(monkeypatch) -> None:
    """The decomposition finds the rewards that were paid."""
    monkeypatch.setattr(completion, "ReturnDecomposition", PaidRewards)


def steps_of(trajectory: Trajectory) -> list[tuple[float, float]]:
    return list(zip(trajectory.observations[:, 0], trajectory.actions[:, 0], strict=True))


def test_staying_where_it_ended_is_worth_what_its_last_step_was():
    rewards = np.arange(20.0)
    stayed, *_ = complete_trajectories([path(0, 1, 20, rewards), path(5, 6, 20)], HORIZON)
    assert steps_of(stayed) == steps_of(path(0, 1, 20))
    assert stayed.total_return == rewards.sum() + (HORIZON - 20) * 19
    assert stayed.truncated and not stayed.terminated


def test_it_goes_on_along_another_trajectory_that_leads_somewhere():
    first, second = path(0, 5, 20), path(2.5, 10, 31, np.arange(31) == 30)  # the second passes 5 at its eleventh step
    gone_on = complete_trajectories([first, second], HORIZON)[1]
    assert steps_of(gone_on) == steps_of(first) + steps_of(second)[10:]
    assert gone_on.total_return == 1 + (HORIZON - 20 - 21 - TIME_UNIT)  # stays where each step pays 1
    assert gone_on.truncated and not gone_on.terminated


def test_a_trajectory_is_left_on_the_way_for_a_better_one():
    first = path(0, 9, 31)  # passes 3 at its eleventh step
    second = path(3, 0, 11, np.arange(11) == 10)
    gone_on = complete_trajectories([first, second], HORIZON)[1]
    assert steps_of(gone_on) == steps_of(first)[:10] + steps_of(second)
    assert gone_on.total_return == 1 + (HORIZON - 10 - 11 - TIME_UNIT)


def test_each_joint_is_followed_by_steps():
    """From one trajectory to another that passes a little further on, and so on, is no way: nobody has gone it."""
    parts = [path(0, 5, 20), *(path(5 + 0.05 * i, 5 + 0.05 * i, 20) for i in range(1, 8)), path(5.4, 6, 11, 1.0)]
    gone_on = complete_trajectories(parts, 300)[1]
    assert gone_on.observations[-1, 0] == 6
    assert len(gone_on) >= 20 + 7 * TIME_UNIT + 11
    # Without the time for those steps it is not begun
    too_short = 20 + 15 * TIME_UNIT  # seven joints, each with ten steps, and the way from the last
    assert len(complete_trajectories(parts, too_short)[1]) == 20


def test_to_stay_is_worth_what_it_returns_where_it_comes_to_rest(monkeypatch):
    class Slope(PaidRewards):
        def reward(self, rests: th.Tensor) -> np.ndarray:
            return rests[:, 0].double().numpy()

    monkeypatch.setattr(completion, "ReturnDecomposition", Slope)
    monkeypatch.setattr(completion.Holding, "rest", lambda self, end: np.array([7.0 if end == 19 else 2.0]))
    stayed = complete_trajectories([path(0.0, 1.0, 20), path(5.0, 6.0, 20)], HORIZON)[0::3]
    assert [trajectory.total_return for trajectory in stayed] == [7.0 * (HORIZON - 20), 2.0 * (HORIZON - 20)]


def test_luck_is_not_looked_for(monkeypatch):
    """What a return has more than its rewards is that of its own trajectory, not of ways that pass it again and again."""

    class Nothing(PaidRewards):
        def __init__(self, trajectories) -> None:
            super().__init__(trajectories)
            self.rewards, self.last = 0 * self.rewards, 0 * self.last

    monkeypatch.setattr(completion, "ReturnDecomposition", Nothing)
    lucky, plain = path(0, 5, 20, 0.5), path(4, 6, 21)  # where the first ends, the second passes at its eleventh step
    whole, gone_on, rest, *others = complete_trajectories([lucky, plain, path(5, 0, 20)], 200)
    assert [len(trajectory) for trajectory in (whole, gone_on, rest)] == [20, 20, 10]
    assert [trajectory.total_return for trajectory in (whole, gone_on, rest)] == [10, 10, 5]
    assert [trajectory.total_return for trajectory in others] == [0] * 6


def test_luck_is_that_of_the_steps_that_are_shown(monkeypatch):
    class Unexplained(PaidRewards):
        def __init__(self, trajectories) -> None:
            super().__init__(trajectories)
            self.rewards = np.where(self.rewards == 100, 0, self.rewards)
            self.last = np.where(self.last == 100, 0, self.last)

    monkeypatch.setattr(completion, "ReturnDecomposition", Unexplained)
    first, second = path(0, 9, 31, 100.0 * (np.arange(31) == 30)), path(3, 0, 11, np.arange(11) == 10)
    gone_on = complete_trajectories([first, second], HORIZON)[1]  # leaves the first after ten steps of 31
    assert gone_on.total_return == pytest.approx(100 * 10 / 31 + 1 + (HORIZON - 10 - 11 - TIME_UNIT))


@pytest.mark.parametrize("n_steps", [20, 21, 22])
def test_an_end_does_not_lead_to_its_own_last_step(monkeypatch, n_steps):
    monkeypatch.setattr(PaidRewards, "reward", lambda self, rests: 0 * self.last)  # to pass there again would pay, to rest not
    completed = complete_trajectories([path(0, 5, n_steps, np.arange(n_steps) == n_steps - 1)], 300)
    assert [len(trajectory) for trajectory in completed] == [n_steps, n_steps, n_steps - TIME_UNIT]
    assert [trajectory.total_return for trajectory in completed] == [1, 1, 1]


def test_where_nothing_costs_nobody_is_told_of_costs():
    parts = [path(0, 5, 20, 0.1), path(5, 9, 20, np.where(np.arange(20) < 19, 0.1, -0.5))]
    stayed, gone_on, *_ = complete_trajectories(parts, 300)[3:]
    assert [stayed.total_return, gone_on.total_return] == pytest.approx([19 * 0.1 - 0.5] * 2)


def test_where_nothing_costs_no_time_is_lost_to_stay_for_less():
    costly = np.arange(20) // 19 * -0.01
    parts = [path(0, 5, 20, costly), path(5, 0, 20, costly), path(20, 25, 20, np.arange(20) == 19)]
    assert [len(trajectory) for trajectory in complete_trajectories(parts, 300)[:6]] == [20, 20, 10, 20, 20, 10]


def test_an_episode_does_not_end_before_its_last_step():
    rests = complete_trajectories([path(0, 9, 40, terminated=True)] * 20, 25)[1::2]
    assert {(len(rest), rest.terminated) for rest in rests} == {(25, False), (20, True), (10, True)}
    parts = [path(0, 5, 10), path(5, 10, 20, 1.0, terminated=True)]
    gone_on = complete_trajectories(parts, 35)[1]
    assert len(gone_on) == 25 and gone_on.truncated and not gone_on.terminated
    gone_on = complete_trajectories(parts, 40)[1]
    assert len(gone_on) == 30 and gone_on.terminated


@pytest.mark.parametrize("n_steps, pace, n_others, horizon", [(11, 0.75, 10, 60), (21, 0.5, 20, 74), (11, 0.5, 30, 81)])
def test_to_go_on_never_returns_less_than_to_stay(n_steps, pace, n_others, horizon):
    first = path(0, 5, n_steps, np.arange(n_steps) // (n_steps - 1) * pace)
    second = path(5, 10, n_others, np.arange(n_others) == n_others - 1)
    stayed, gone_on, *_ = complete_trajectories([first, second], horizon)
    assert gone_on.total_return >= stayed.total_return


@pytest.mark.parametrize("horizon", [5, 95])
def test_no_way_lasts_longer_than_the_horizon_nor_is_cut_before_it(horizon):
    rest = complete_trajectories([path(0, 9, 2000, 0.5)], horizon)[1]
    assert len(rest) == horizon and rest.total_return == horizon / 2


def test_rests_that_are_near_each_other_return_alike():
    paces = {5.0: 0.9, 5.01: 0.7, 0.0: 0.1}
    parts = [path(-5, end, 20, np.arange(20) // 19 * pace) for end, pace in paces.items()]
    stayed = complete_trajectories(parts, HORIZON)[0::3]
    missing = [(after.total_return - pace) / (HORIZON - 20) for after, pace in zip(stayed, paces.values(), strict=True)]
    assert missing == pytest.approx([0.8, 0.8, 0.1])


@pytest.mark.parametrize("pace, expected", [(0.8, "go on"), (0.95, "stay")])
def test_it_goes_on_only_if_that_returns_more_than_to_stay(pace, expected):
    first, second = path(0, 5, 20, np.arange(20) // 19 * pace), path(5, 10, 21, np.arange(21) == 20)
    horizon = 20 + 10 * (21 + TIME_UNIT)  # a tenth of the time is lost on the way
    gone_on = complete_trajectories([first, second], horizon)[1]
    assert len(gone_on) == {"stay": 20, "go on": 41}[expected]


def test_where_every_step_costs_time_is_not_lost_for_nothing():
    stayed, gone_on, _ = complete_trajectories([path(0, 5, 20, -1.0)], 200)
    assert stayed.total_return == gone_on.total_return == -200
    # A way that ends where nothing costs is worth its steps and the gap before them
    second = path(5, 10, 21, -1.0 * (np.arange(21) < 20))
    gone_on = complete_trajectories([path(0, 5, 20, -1.0), second], 200)[1]
    assert gone_on.total_return == -20 - TIME_UNIT - 20


def test_what_costs_is_left_though_something_else_pays():
    lava, way_out, elsewhere = path(0, 5, 20, -1.0), path(5, 10, 20, np.arange(20) // 19 * 0.1), path(50, 60, 20, 5.0)
    gone_on = complete_trajectories([lava, way_out, elsewhere], 200)[1]
    assert steps_of(gone_on) == steps_of(lava) + steps_of(way_out)
    assert gone_on.total_return == pytest.approx(-20 - TIME_UNIT + 0.1 * (1 + 200 - 40 - TIME_UNIT))


def test_a_joint_on_the_way_costs_what_the_steps_before_it_do():
    costly = path(0, 9, 31, -1.0)  # passes 3 at its eleventh step
    free = path(3, 0, 11, -1.0 * (np.arange(11) < 10))
    gone_on = complete_trajectories([costly, free], 200)[1]
    assert steps_of(gone_on) == steps_of(costly)[:10] + steps_of(free)
    assert gone_on.total_return == -10 - TIME_UNIT - 10


def test_where_nothing_costs_a_pace_below_zero_is_an_error_of_the_decomposition():
    first, second = path(0, 5, 20, np.arange(20) // 19 * -0.01), path(5, 10, 21, np.arange(21) == 20)
    gone_on = complete_trajectories([first, second], HORIZON)[1]
    assert gone_on.total_return == -0.01 + 1 + (HORIZON - 20 - 21 - TIME_UNIT)


def test_what_would_take_longer_than_there_is_time_is_not_begun():
    first, second = path(0, 5, 20), path(5, 10, 21, np.arange(21) == 20)
    enough = 20 + -(-(21 + TIME_UNIT) // TIME_UNIT) * TIME_UNIT
    assert len(complete_trajectories([first, second], enough)[1]) == 41
    assert len(complete_trajectories([first, second], enough - 1)[1]) == 20


def test_several_trajectories_make_a_way():
    parts = [path(0, 5, 20), path(10, 15, 20, np.arange(20) == 19), path(5, 10, 20)]
    gone_on = complete_trajectories(parts, 300)[1]
    assert steps_of(gone_on) == steps_of(parts[0]) + steps_of(parts[2]) + steps_of(parts[1])
    assert gone_on.total_return == 1 + 300 - 60 - 2 * TIME_UNIT


def test_a_gap_is_not_jumped():
    first, second = path(0, 5, 20), path(6, 10, 20, 1.0)
    assert len(complete_trajectories([first, second], HORIZON)[1]) == 20


def test_the_end_of_an_episode_is_the_end():
    fallen = path(0, 5, 20, terminated=True)
    paying = path(5, 10, 20, 1.0, terminated=True)
    cut = path(-5, 0, 20)
    completed = complete_trajectories([fallen, paying, cut], HORIZON)
    assert [len(trajectory) for trajectory in completed[0::2][:2]] == [20, 20]
    assert completed[0].total_return == 0 and completed[0].terminated
    assert completed[2].total_return == 20 and completed[2].terminated  # no return of staying after it
    gone_on = completed[5]
    assert len(gone_on) == 20  # what it could follow returns nothing: to stay is as good
    gone_on = complete_trajectories([paying, path(0, 5, 20)], HORIZON)[3]
    assert len(gone_on) == 40 and gone_on.total_return == 20
    assert gone_on.terminated and not gone_on.truncated  # as the last part of it did


def test_what_lasted_the_horizon_is_left_alone():
    whole = path(0, 5, HORIZON, 0.5)
    kept, rest = complete_trajectories([whole], HORIZON)
    assert steps_of(kept) == steps_of(whole)
    assert kept.total_return == HORIZON / 2
    assert steps_of(rest) == steps_of(whole)[-len(rest) :]
    assert MIN_REST <= len(rest) < HORIZON
    assert rest.total_return == pytest.approx(HORIZON / 2)  # it has as much time as the whole


def test_rests_begin_anywhere():
    rests = complete_trajectories([path(0, 5, HORIZON)] * 60, HORIZON)[1::2]
    assert {len(rest) for rest in rests} == set(range(MIN_REST, HORIZON, TIME_UNIT))


def test_a_short_trajectory_has_no_rest():
    assert len(complete_trajectories([path(0, 1, MIN_REST + TIME_UNIT - 1, terminated=True)], HORIZON)) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(12, 40), st.booleans()), min_size=2, max_size=8))
def test_going_on_takes_no_more_than_the_horizon_and_never_returns_less_than_to_stay(shapes):
    # One position pays, so that the return of what is shown is known
    trajectories = []
    for start, end, n_steps, terminated in shapes:
        way = path(start, end, n_steps, terminated=terminated)
        rewards = (np.abs(way.observations[:, 0] - 2) < 0.1).astype(np.float64)
        trajectories.append(Trajectory(way.observations, way.actions, rewards, terminated, not terminated))
    completed = iter(complete_trajectories(trajectories, HORIZON))
    for before in trajectories:
        stayed, parts = next(completed), []
        parts = [next(completed) for _ in range((not before.terminated) + (len(before) >= MIN_REST + TIME_UNIT))]
        for after in parts:
            assert len(after) <= HORIZON
            assert after.rewards[:-1].sum() == 0
            paid = (np.abs(after.observations[:, 0] - 2) < 0.1).sum()
            left = 0 if after.terminated else HORIZON - len(after)
            assert paid - 1e-9 <= after.total_return <= paid + left + 1e-9
        if not before.terminated:
            assert parts[0].total_return >= stayed.total_return - 1e-9


def test_observations_of_several_parts_go_on_alike():
    def as_dict(trajectory: Trajectory) -> Trajectory:
        observations = {"position": trajectory.observations, "double": 2 * trajectory.observations}
        return Trajectory(observations, trajectory.actions, trajectory.rewards, trajectory.terminated, trajectory.truncated)

    parts = [path(0, 5, 20), path(5, 10, 20, np.arange(20) == 19)]
    for plain, split in zip(
        complete_trajectories(parts, HORIZON), complete_trajectories([as_dict(part) for part in parts], HORIZON), strict=True
    ):
        np.testing.assert_array_equal(split.observations["position"], plain.observations)
        np.testing.assert_array_equal(split.observations["double"], 2 * plain.observations)
        assert split.total_return == plain.total_return


def test_single_rewards_are_never_used(monkeypatch):
    monkeypatch.setattr(completion, "ReturnDecomposition", decomposition.ReturnDecomposition)
    monkeypatch.setattr(decomposition, "GRADIENT_STEPS", 5)
    rng = np.random.default_rng(0)
    trajectories = [path(rng.uniform(-3, 3), rng.uniform(-3, 3), 40, rng.normal(size=40)) for _ in range(8)]
    np.random.seed(3)
    th.manual_seed(3)
    expected = complete_trajectories(trajectories, HORIZON)
    drawn = np.random.rand(), th.rand(()).item()
    np.random.seed(3)
    th.manual_seed(3)
    assert drawn == (np.random.rand(), th.rand(()).item())  # nor random numbers of anyone else
    found = complete_trajectories([trajectory.return_only() for trajectory in trajectories], HORIZON)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.rewards, other.rewards)


def test_a_model_learns_from_what_was_completed():
    trajectories = [path(-0.5, 0.5, 20), path(0.5, 0.8, 20, np.arange(20) == 19)]
    model = GAC("MlpLatentPolicy", completion_horizon=HORIZON, policy_kwargs=dict(net_arch=[8]), device="cpu", seed=0)
    model.set_offline_data(trajectories)
    expected = [trajectory.total_return for trajectory in complete_trajectories(trajectories, HORIZON)]
    np.testing.assert_allclose(model.offline_buffer.returns, expected)


@pytest.mark.parametrize("verbose", [0, 1])
def test_that_a_data_set_is_being_completed_is_said(verbose, capsys):
    model = GAC("MlpLatentPolicy", completion_horizon=HORIZON, verbose=verbose, device="cpu")
    model.set_offline_data([path(0, 1, 20), path(5, 6, 20)])
    assert capsys.readouterr().out.endswith(f"Completing 2 trajectories to {HORIZON} steps\n") == bool(verbose)


def test_no_trajectory_is_refused():
    with pytest.raises(ValueError, match="no trajectory to complete"):
        complete_trajectories([], 100)


def test_a_horizon_without_steps_is_refused():
    with pytest.raises(ValueError, match="horizon must be a positive number of steps, got 0"):
        complete_trajectories([path(0, 1, 20)], 0)
    with pytest.raises(ValueError, match="completion_horizon must be at least 1, got 0"):
        GAC("MlpLatentPolicy", completion_horizon=0)
