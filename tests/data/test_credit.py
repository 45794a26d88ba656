"""Which actions were better than those to be expected."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_gac import GAC
from sb3_gac.data import Trajectory, TrajectoryReplayBuffer, credit
from sb3_gac.data.credit import (
    DISCOUNT,
    _discounted_sums,
    _explained_by_actions,
    _outcomes,
    step_advantages,
    step_weights,
)
from sb3_gac.data.standardization import StandardizedObservations
from tests.data.paid_rewards import PaidRewards

STEPS, FAR = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Box(-1e4, 1e4, (2,))


@pytest.fixture(autouse=True)
def quick_fits(monkeypatch) -> None:
    monkeypatch.setattr(credit, "GRADIENT_STEPS", 500)
    monkeypatch.setattr(credit, "BATCH_SIZE", 128)


@pytest.fixture
def known_rewards(monkeypatch) -> None:
    """The decomposition finds the rewards that were paid."""
    monkeypatch.setattr(credit, "ReturnDecomposition", PaidRewards)


def trajectory(positions: list[float], rewards: list[float], terminated: bool = True, actions: Any = None) -> Trajectory:
    taken = np.zeros((len(positions), 1)) if actions is None else np.array(actions)
    return Trajectory(np.array(positions)[:, None], taken, np.array(rewards), terminated, not terminated)


def step_outcomes(trajectories: list[Trajectory]) -> np.ndarray:
    th.manual_seed(0)
    return _outcomes(trajectories, StandardizedObservations(trajectories).rows)


def forks(n_pairs: int) -> list[Trajectory]:
    """From the same start half of the data goes where it is paid, the other half where it is not."""
    paid = trajectory([0, 1], [0, 1], actions=[[1.0], [0.0]])
    return [paid, trajectory([0, -1], [0, 0], actions=[[-1.0], [0.0]])] * n_pairs


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


def test_an_outcome_is_what_a_step_leads_to_beyond_what_was_to_be_expected(known_rewards):
    outcomes = step_outcomes(forks(20)).reshape(20, 2, 2)
    taken = DISCOUNT * 0.5  # beyond what is paid on average, by the step that chooses
    expected, values = np.array([[taken, 0], [-taken, 0]]), np.array([[taken, 1], [taken, 0]])
    at_stake = np.sqrt(np.square(values).mean() + np.square(expected).mean())
    np.testing.assert_allclose(outcomes, np.broadcast_to(expected / at_stake, (20, 2, 2)), atol=0.03)


@pytest.mark.parametrize("terminated", [True, False])
def test_what_no_step_explains_was_paid_at_the_end(monkeypatch, terminated):
    """Every second trajectory is paid for its last step; to the decomposition all steps look alike."""

    class Blind(PaidRewards):
        def __init__(self, trajectories: list[Trajectory], draws_steps: bool = False) -> None:
            super().__init__(trajectories)
            self.rewards[:] = 0.0

    data = [trajectory([0, end], [0, max(end, 0)], terminated) for end in (1, -1)] * 20
    outcomes = {}
    for decomposition in (PaidRewards, Blind):
        monkeypatch.setattr(credit, "ReturnDecomposition", decomposition)
        outcomes[decomposition] = step_outcomes(data)
    np.testing.assert_allclose(outcomes[Blind], outcomes[PaidRewards], atol=1e-6)
    assert outcomes[Blind][0] > 0 > outcomes[Blind][2]


def test_what_little_they_do_not_explain_is_no_reward(monkeypatch):
    class Faint(PaidRewards):
        def __init__(self, trajectories: list[Trajectory], draws_steps: bool = False) -> None:
            super().__init__(trajectories)
            self.rewards *= 0.95

    data, outcomes = forks(20), []
    for decomposition in (PaidRewards, Faint):
        monkeypatch.setattr(credit, "ReturnDecomposition", decomposition)
        outcomes.append(step_outcomes(data))
    np.testing.assert_allclose(outcomes[0], outcomes[1], atol=1e-6)


def test_a_goal_that_is_paid_for_once_is_worth_reaching():
    """Walks on a line that end at 1, which alone is paid for, or at -1."""
    rng = np.random.default_rng(0)
    data = []
    for _ in range(100):
        actions = (rng.uniform(-0.2, 0.3) + rng.normal(scale=0.5, size=(300, 1))).clip(-1, 1)
        positions = np.append(0, 0.02 * actions.cumsum())
        n_steps = int((abs(positions) >= 1).argmax()) or 300
        rewards = np.zeros(n_steps)
        rewards[-1] = positions[n_steps] >= 1
        data.append(trajectory(positions[:n_steps], rewards, abs(positions[n_steps]) >= 1, actions[:n_steps]))
    is_near = np.concatenate([0.5 < part.observations[:, 0] for part in data])
    actions = np.concatenate([part.actions[:, 0] for part in data])
    advantages = step_advantages(data, STEPS)
    assert np.corrcoef(advantages[is_near], actions[is_near])[0, 1] > 0.5


def test_what_was_cut_has_not_ended(known_rewards):
    """All stand where each step pays; some of them fall at the end."""
    stands, falls = trajectory([0] * 20, [1] * 20, terminated=False), trajectory([0] * 20, [1] * 20)
    cut, fallen = step_outcomes([stands, falls] * 10).reshape(10, 2, 20)[0]
    assert cut[-1] > 0 > fallen[-1]
    assert fallen[-1] < fallen[0]


@pytest.mark.parametrize(
    ("space", "counts"),
    [
        (STEPS, None),
        (FAR, None),
        (gym.spaces.Discrete(3), [3]),
        (gym.spaces.MultiDiscrete([2, 3]), [2, 3]),
        (gym.spaces.MultiBinary(2), [2, 2]),
    ],
    ids=str,
)
def test_only_what_the_action_explains_is_kept(known_rewards, space, counts):
    """Single steps, paid for where they are, for what is done beyond what is done there on average, and by luck."""
    rng = np.random.default_rng(0)
    n_steps = 4000
    where = rng.uniform(-1, 1, n_steps)
    if counts is None:
        moves = 0.5 * where + rng.uniform(-0.5, 0.5, n_steps)
        actions = np.stack([space.high[0] * moves, np.full(n_steps, 0.1)], axis=1)[:, : space.shape[0]]
        beyond = moves - 0.5 * where
    else:
        choices = rng.integers(counts, size=(n_steps, len(counts)))
        beyond = ((choices == 1) - 1 / np.array(counts)).sum(axis=1)  # of three, the middle one: its number explains nothing
        actions = choices.reshape(n_steps, *space.shape)
    expected = where * beyond
    rewards = 3 * where + expected + expected.std() * rng.normal(size=n_steps)
    data = [trajectory([x], [reward], actions=[a]) for x, reward, a in zip(where, rewards, actions, strict=True)]
    advantages, outcomes = step_advantages(data, space), step_outcomes(data)
    at_stake = np.sqrt(np.square(rewards).mean())  # the same, for steps that are whole trajectories
    assert advantages.std() == pytest.approx(expected.std() / at_stake, rel=0.2)
    assert np.corrcoef(advantages, expected)[0, 1] > 0.95 > 0.75 > np.corrcoef(outcomes, expected)[0, 1]


def test_what_is_to_be_expected_where_a_step_is_blurs_nothing():
    rng = np.random.default_rng(0)
    where, noise = rng.uniform(-1, 1, (2, 1000, 1))
    actions = th.as_tensor(where + noise, dtype=th.float32)
    th.manual_seed(0)
    explained = _explained_by_actions((100 * where + noise)[:, 0], th.as_tensor(where, dtype=th.float32), actions)
    assert np.corrcoef(explained, noise[:, 0])[0, 1] > 0.9


def test_where_actions_are_alike_steps_are_too(known_rewards):
    rng = np.random.default_rng(0)
    data = [trajectory([x], [reward]) for x, reward in rng.normal(size=(1000, 2))]
    assert abs(step_advantages(data, STEPS)).max() == 0


def test_rewards_are_those_of_drawn_steps(monkeypatch):
    asked = []

    class Recorder(PaidRewards):
        def __init__(self, trajectories: list[Trajectory], draws_steps: bool = False) -> None:
            super().__init__(trajectories)
            asked.append(draws_steps)

    monkeypatch.setattr(credit, "ReturnDecomposition", Recorder)
    step_advantages(forks(1), STEPS)
    assert asked == [True]


def test_it_is_the_same_for_the_same_data_and_leaves_the_random_state_alone():
    data = forks(1)
    th.manual_seed(0)
    first = step_advantages(data, STEPS)
    drawn = th.rand(1)
    th.manual_seed(0)
    assert drawn == th.rand(1)
    np.testing.assert_array_equal(step_advantages(data, STEPS), first)
    assert first.std() > 0


def test_steps_before_a_cut_are_no_losses(known_rewards):
    """What is paid is luck, so no time is better than another, though all is cut long before the discount has run out."""
    rewards = np.random.default_rng(0).exponential(size=(400, 20))
    outcomes = step_outcomes([trajectory([0] * 20, list(part), terminated=False) for part in rewards])
    assert abs(outcomes.reshape(400, 20).mean(axis=0)).max() < 0.3 * outcomes.std()


def test_where_returns_are_alike_steps_are_too():
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(40, 50, 1)).clip(-1, 1)
    data = [trajectory(list(rng.normal(size=50).cumsum()), [0.0] * 49 + [10.0], False, taken) for taken in actions]
    assert step_advantages(data, STEPS).std() < 0.003


@pytest.mark.parametrize("weighting", [0.5, 2.0, 100.0])
def test_better_steps_count_up_to_twice_worse_ones_next_to_nothing(known_rewards, weighting):
    data = forks(20)
    weights, advantages = np.concatenate(step_weights(data, STEPS, weighting)), step_advantages(data, STEPS)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(weights, 2 / (1 + np.exp(-weighting * advantages)), atol=2e-3)
    assert weights.min() > 0 and weights.max() <= 2


def test_the_weights_of_a_sample_share_its_likelihood_out():
    space = gym.spaces.Box(-10, 10, (1,))
    buffer = TrajectoryReplayBuffer(10, space, gym.spaces.Box(-1, 1, (1,)))
    buffer.add_trajectory(trajectory([0.0, 1.0, 2.0], [0.0] * 3), np.array([1.0, 2.0, 4.0]))
    buffer.add_trajectory(trajectory([3.0, 4.0], [0.0] * 2))
    for held in (buffer, pickle.loads(pickle.dumps(buffer))):
        batch = held.sample(20, 10)
        relative = np.array([1.0, 2.0, 4.0, 1.0, 1.0])[batch.observations[..., 0].long().numpy()]
        np.testing.assert_allclose(batch.weights.numpy(), relative / relative.mean(), rtol=1e-6)


def test_what_is_overwritten_loses_its_weight():
    space = gym.spaces.Box(-10, 10, (1,))
    buffer = TrajectoryReplayBuffer(2, space, gym.spaces.Box(-1, 1, (1,)))
    buffer.add_trajectory(trajectory([0.0, 1.0], [0.0] * 2), np.array([1.0, 9.0]))
    for done in (False, True):
        buffer.add(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1), np.array([done]), [{}])
    np.testing.assert_array_equal(buffer.sample(10, 10).weights.numpy(), np.ones((10, 10)))


def ups_and_downs(n_trajectories: int) -> list[Trajectory]:
    """From where all start a step up pays at once, a step down never."""
    rng = np.random.default_rng(0)
    data = []
    for _ in range(n_trajectories):
        goes_up = rng.random(10) < 0.5
        positions = np.append(0, np.where(goes_up, 1.0, -1.0))
        actions = np.where(np.append(goes_up, False), 1.0, -1.0)[:, None]
        rewards = np.append(0, goes_up.astype(np.float64))
        data.append(Trajectory(positions[:, None].astype(np.float32), actions, rewards, True, False).return_only())
    return data


def test_the_better_steps_of_a_data_set_count_more():
    shares = []
    for step_weighting in (0.0, 5.0, 10.0):
        model = GAC("MlpLatentPolicy", step_weighting=step_weighting, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
        model.set_offline_data(ups_and_downs(60))
        batch = model.offline_buffer.sample(2000, 10)
        shares.append((batch.weights * (batch.actions[..., 0] > 0)).mean().item())
    # how much time is left is not in the observation, and blurs what to expect
    assert shares[1] > shares[0] + 0.05 and shares[2] > shares[1] + 0.03


def test_a_model_imitates_the_better_steps():
    ups = []
    for step_weighting in (0.0, 20.0):
        kwargs = {"net_arch": [16], "n_candidates": 1, "clock_scale": 0.0}
        model = GAC(
            "MlpLatentPolicy",
            step_weighting=step_weighting,
            offline_best_ratio=0.0,
            policy_kwargs=kwargs,
            seed=0,
            device="cpu",
        )
        model.learn_offline(ups_and_downs(60), 150)
        ups.append(model.predict(np.zeros((1, 1), dtype=np.float32), deterministic=True)[0].item())
    assert ups[1] > ups[0] + 0.2


def test_what_takes_long_is_announced(capsys):
    announced = []
    for verbose in (0, 1):
        model = GAC("MlpLatentPolicy", step_weighting=1.0, verbose=verbose, device="cpu")
        model.set_offline_data([trajectory([0, 1, 2], [0, 0, 1]), trajectory([0, -1], [0, 0])])
        announced.append(capsys.readouterr().out)
    assert announced[0] == ""
    assert announced[1].endswith("Weighing the steps of 2 trajectories\n")


def test_completed_returns_are_not_shared_out():
    with pytest.raises(ValueError, match="step_weighting must be 0 with a completion_horizon"):
        GAC("MlpLatentPolicy", step_weighting=1.0, completion_horizon=9)


def test_a_negative_weighting_is_refused():
    with pytest.raises(ValueError, match="step_weighting"):
        GAC("MlpLatentPolicy", step_weighting=-1.0)


@pytest.mark.parametrize("argument", [{"step_weighting": 1.0}, {"completion_horizon": 9}])
def test_images_are_refused_before_there_are_networks_for_them(argument):
    images = np.zeros((5, 3, 36, 36), dtype=np.uint8)
    model = GAC("CnnLatentPolicy", **argument)
    with pytest.raises(ValueError, match=f"images: .*{next(iter(argument))}"):
        model.set_offline_data([Trajectory(images, np.zeros((5, 1)), np.zeros(5), True, False)])
    assert model.observation_space is None


@pytest.mark.parametrize("weights", [0.0, -1.0, np.nan, np.array([1.0, np.inf])])
def test_weights_must_be_positive(weights):
    buffer = TrajectoryReplayBuffer(9, gym.spaces.Box(-10, 10, (1,)), gym.spaces.Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match="weights must be positive and finite, got"):
        buffer.add_trajectory(trajectory([0.0, 1.0], [0.0] * 2), weights)


def test_there_is_a_weight_for_each_step():
    buffer = TrajectoryReplayBuffer(9, gym.spaces.Box(-10, 10, (1,)), gym.spaces.Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match=r"weights must have the shape \(2,\), one for each step, got \(3,\)"):
        buffer.add_trajectory(trajectory([0.0, 1.0], [0.0] * 2), np.ones(3))
    assert buffer.n_trajectories == buffer.n_rows == 0


def test_a_buffer_that_was_saved_without_weights_counts_all_steps_alike():
    buffer = TrajectoryReplayBuffer(9, gym.spaces.Box(-10, 10, (1,)), gym.spaces.Box(-1, 1, (1,)))
    buffer.add_trajectory(trajectory([0.0, 1.0], [0.0] * 2), 3.0)
    state = buffer.__getstate__()
    del state["weights"]
    restored = TrajectoryReplayBuffer.__new__(TrajectoryReplayBuffer)
    restored.__setstate__(state)
    np.testing.assert_array_equal(restored.sample(2, 3).weights, np.ones((2, 3)))
    restored.add_trajectory(trajectory([2.0], [1.0]))
    assert restored.n_trajectories == 2
