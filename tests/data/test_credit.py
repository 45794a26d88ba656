"""Which steps did better than could be expected."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_gac import GAC
from sb3_gac.data import Trajectory, TrajectoryReplayBuffer, credit
from sb3_gac.data.credit import DISCOUNT, _discounted_sums, step_advantages


@pytest.fixture(autouse=True)
def quick_fits(monkeypatch) -> None:
    monkeypatch.setattr(credit, "GRADIENT_STEPS", 500)
    monkeypatch.setattr(credit, "BATCH_SIZE", 128)


@pytest.fixture
def known_rewards(monkeypatch) -> None:
    """The decomposition finds the rewards that were paid."""
    paid = lambda trajectories: np.concatenate([trajectory.rewards for trajectory in trajectories])  # noqa: E731
    monkeypatch.setattr(credit, "decompose_returns", paid)


def trajectory(positions: list[float], rewards: list[float], terminated: bool = True) -> Trajectory:
    n_steps = len(positions)
    return Trajectory(np.array(positions)[:, None], np.zeros((n_steps, 1)), np.array(rewards), terminated, not terminated)


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.floats(0, 1), st.integers(0, 2**31))
def test_discounted_sums_are_those_of_a_loop(lengths, discount, seed):
    rng = np.random.default_rng(seed)
    terms, after = rng.normal(size=sum(lengths)), rng.normal(size=len(lengths))
    expected = []
    for part, last in zip(np.split(terms, np.cumsum(lengths)[:-1]), after, strict=True):
        sums = [last]
        for term in part[::-1]:
            sums.append(term + discount * sums[-1])
        expected += sums[:0:-1]
    np.testing.assert_allclose(_discounted_sums(terms, np.cumsum(lengths) - 1, after, discount), expected, atol=1e-12)


def test_a_step_is_worth_what_it_leads_to_beyond_what_was_to_be_expected(known_rewards):
    """From the same start half of the data goes where it is paid, the other half where it is not."""
    advantages = step_advantages([trajectory([0, 1], [0, 1]), trajectory([0, -1], [0, 0])] * 20).reshape(20, 2, 2)
    taken = DISCOUNT * 0.5  # beyond what is paid on average, by the step that chooses
    expected = np.array([[taken, 0], [-taken, 0]])
    np.testing.assert_allclose(advantages, np.broadcast_to(expected / expected.std(), (20, 2, 2)), atol=0.05)


def test_what_was_cut_has_not_ended(known_rewards):
    """All stand where each step pays; some of them fall at the end."""
    stands, falls = trajectory([0] * 20, [1] * 20, terminated=False), trajectory([0] * 20, [1] * 20)
    cut, fallen = step_advantages([stands, falls] * 10).reshape(10, 2, 20)[0]
    assert cut[-1] > 0 > fallen[-1]
    assert fallen[-1] < fallen[0]


def test_it_is_the_same_for_the_same_data_and_leaves_the_random_state_alone():
    data = [trajectory([0, 1, 2], [0, 0, 1]), trajectory([0, -1], [0, 0])]
    np.random.seed(0)
    first = step_advantages(data)
    assert np.random.rand() == np.random.RandomState(0).rand()
    np.testing.assert_array_equal(step_advantages(data), first)


def weighted_buffer() -> TrajectoryReplayBuffer:
    space = gym.spaces.Box(-10, 10, (1,))
    buffer = TrajectoryReplayBuffer(10, space, gym.spaces.Box(-1, 1, (1,)))
    for positions in ([0.0, 1.0, 2.0], [3.0, 4.0]):
        buffer.add_trajectory(trajectory(positions, [0.0] * len(positions)))
    return buffer


def test_steps_are_drawn_by_their_weights_within_each_trajectory():
    buffer = weighted_buffer()
    buffer.weigh_steps(np.array([1, 2, 1, 3, 1]))
    np.random.seed(0)
    batch = buffer.sample(2000, 10)
    positions = batch.observations[..., 0].numpy()
    in_first = positions[:, 0] < 3
    shares = [(part == position).mean() for part, position in ((positions[in_first], 1), (positions[~in_first], 3))]
    assert in_first.mean() == pytest.approx(0.5, abs=0.05)
    assert shares == pytest.approx([0.5, 0.75], abs=0.02)
    np.testing.assert_array_equal(batch.ages.numpy() + np.where(in_first, 0, 3)[:, None], positions)


def test_weights_that_differ_much_lead_out_of_no_trajectory():
    buffer = weighted_buffer()
    buffer.weigh_steps(np.array([1e12, 1e-12, 1e-12, 1e-12, 1e12]))
    batch = buffer.sample(1000, 10)
    assert set(np.unique(batch.observations.numpy())) == {0, 4}


def test_what_is_stored_later_ends_the_weights():
    buffer = weighted_buffer()
    buffer.weigh_steps(np.array([1e9, 1, 1, 1e9, 1]))
    buffer.add_trajectory(trajectory([5.0], [0.0]))
    np.random.seed(0)
    assert set(np.unique(buffer.sample(100, 10).observations.numpy())) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "weights, message", [(np.ones(4), "shape"), (np.zeros(5), "positive"), (np.full(5, np.nan), "finite")]
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_buffer().weigh_steps(weights)


def test_a_model_draws_the_better_steps_of_its_data_more_often():
    rng = np.random.default_rng(0)
    data = []
    for _ in range(60):
        goes_up = rng.random(10) < 0.5  # a step up pays at once
        positions = np.append(0, np.where(goes_up, 1.0, -1.0))
        actions = np.where(np.append(goes_up, False), 1.0, -1.0)[:, None]
        rewards = np.append(0, goes_up.astype(np.float64))
        data.append(Trajectory(positions[:, None].astype(np.float32), actions, rewards, True, False).return_only())
    shares = []
    for step_weighting in (0.0, 1.0):
        model = GAC("MlpLatentPolicy", step_weighting=step_weighting, policy_kwargs={"net_arch": [8]}, seed=0)
        model.set_offline_data(data)
        shares.append((model.offline_buffer.sample(2000, 10).actions > 0).float().mean().item())
    assert shares[0] == pytest.approx(np.mean([trajectory.actions > 0 for trajectory in data]), abs=0.02)
    assert shares[1] > shares[0] + 0.1  # how much time is left is not in the observation, and blurs what to expect


def test_what_takes_long_is_announced(capsys):
    data = [trajectory([0, 1, 2], [0, 0, 1], terminated=False), trajectory([0, -1], [0, 0])]
    announced = []
    for verbose in (0, 1):
        model = GAC("MlpLatentPolicy", step_weighting=1.0, completion_horizon=9, verbose=verbose, device="cpu")
        model.set_offline_data(data)
        announced.append(capsys.readouterr().out)
    assert announced[0] == ""
    assert announced[1].endswith("Completing 2 trajectories to 9 steps\nWeighing the steps of 3 trajectories\n")


def test_a_negative_weighting_is_refused():
    with pytest.raises(ValueError, match="step_weighting"):
        GAC("MlpLatentPolicy", step_weighting=-1.0)


def test_images_cannot_be_weighted():
    images = np.zeros((5, 3, 36, 36), dtype=np.uint8)
    model = GAC("CnnLatentPolicy", step_weighting=1.0)
    with pytest.raises(ValueError, match="images"):
        model.set_offline_data([Trajectory(images, np.zeros((5, 1)), np.zeros(5), True, False)])
