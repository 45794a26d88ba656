"""Acting: with plans carried from step to step, and without."""

from operator import attrgetter
from unittest import mock

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac import GAC
from sb3_gac.inference import Planner, PlanState

N_ENVS = 3
BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.fixture
def model(small_gac, make_dataset) -> GAC:
    """The best of many plans, one for each observation."""
    return small_gac(policy_kwargs=dict(n_candidates=32)).learn_offline(make_dataset(n=20), 20)


def observations(n: int = N_ENVS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, size=(n, 3)).astype(np.float32)


def test_a_plan_is_carried(model):
    _, first = model.predict(observations(seed=1), deterministic=True)
    assert first.plans.shape == (N_ENVS, model.policy.plan_dim)
    _, second = model.predict(observations(seed=2), first, np.zeros(N_ENVS, dtype=bool), deterministic=True)
    np.testing.assert_array_equal(second.plans, first.plans)
    assert second.ages.tolist() == [2, 2, 2]


@pytest.mark.parametrize("as_tuple", [True, False])
def test_the_plan_decides_the_action(model, as_tuple):
    actions, state = model.predict(observations(), deterministic=True)
    carried = (tuple if as_tuple else type(state)._make)((state.plans, np.zeros(N_ENVS)))
    np.testing.assert_array_equal(model.predict(observations(), carried, deterministic=True)[0], actions)
    swapped = (state.plans[::-1].copy(), np.zeros(N_ENVS))
    assert not np.allclose(model.predict(observations(), swapped, deterministic=True)[0], actions, atol=1e-5)


def steps_that_plan(model: GAC, monkeypatch, n_steps: int, **kwargs) -> list[int]:
    """Steps of an episode at which plans are made."""
    planned_at, plan, state = [], model.policy.planner.plan, None
    monkeypatch.setattr(model.policy.planner, "plan", lambda *args: (planned_at.append(step), plan(*args))[1])
    for step in range(n_steps):
        obs = observations(seed=step)
        _, state = model.policy.predict(obs, state, np.full(N_ENVS, step == 0), **kwargs)
    return planned_at


@pytest.mark.parametrize(
    ("plan_horizon", "replan_freq", "when_exploiting", "when_exploring"),
    [
        (6, 4, [0, 4, 8, 12], [0, 6, 12]),
        (6, 1, list(range(14)), [0, 6, 12]),
        (6, 6, [0, 6, 12], [0, 6, 12]),
        (6, 9, [0, 6, 12], [0, 6, 12]),  # no plan is followed beyond its horizon
        (None, 4, [0], [0]),  # a plan of the whole trajectory
    ],
)
@pytest.mark.parametrize("how", ["exploiting", "exploring", "asking"])
def test_when_plans_are_renewed(
    small_gac, make_dataset, monkeypatch, plan_horizon, replan_freq, when_exploiting, when_exploring, how
):
    """Exploitation renews its plan, also of a return that is asked for; exploration holds it for its horizon."""
    kwargs = dict(plan_horizon=plan_horizon, replan_freq=replan_freq)
    model = small_gac(policy_kwargs=kwargs).learn_offline(make_dataset(), 1)
    asked = dict(target_return=0.5) if how == "asking" else {}
    planned_at = steps_that_plan(model, monkeypatch, 14, deterministic=how != "exploring", **asked)
    assert planned_at == (when_exploring if how == "exploring" else when_exploiting)


def test_by_default_a_plan_is_of_ten_steps_and_exploitation_renews_it_every_five(small_gac, make_dataset, monkeypatch):
    model = small_gac().learn_offline(make_dataset(), 1)
    with monkeypatch.context() as patch:
        assert steps_that_plan(model, patch, 22, deterministic=False) == [0, 10, 20]
    assert steps_that_plan(model, monkeypatch, 12, deterministic=True) == [0, 5, 10]


def test_each_environment_renews_its_own_plan(small_gac, make_dataset):
    model = small_gac(policy_kwargs=dict(plan_horizon=6, replan_freq=4)).learn_offline(make_dataset(), 1)
    _, first = model.predict(observations(seed=1), deterministic=True)
    carried = first._replace(ages=np.array([3, 4, 2]))
    _, second = model.predict(observations(seed=2), carried, np.array([False, False, True]), deterministic=True)
    assert (second.plans == first.plans).all(axis=1).tolist() == [True, False, False]
    assert second.ages.tolist() == [4, 1, 1]


@pytest.mark.parametrize(
    ("plan_horizon", "ages", "clock"),
    [(20, [0, 5, 10, 20], [-1.0, -0.5, 0.0, 1.0]), (None, [0, 100, 300, 9900], [-1.0, 0.0, 0.5, 0.98])],
)
def test_the_decoder_sees_the_age_of_the_plan_last(small_gac, make_dataset, plan_horizon, ages, clock):
    """A clock in [-1, 1], halfway after half the horizon, or after 100 steps of a whole trajectory."""
    model = small_gac(policy_kwargs=dict(plan_horizon=plan_horizon)).learn_offline(make_dataset(), 1)
    features = model.policy.extract_features(th.as_tensor(observations(4)))
    seen = model.policy.decoder_features(features, th.tensor(ages))
    th.testing.assert_close(seen[:, :-1], features)
    th.testing.assert_close(seen[:, -1], th.tensor(clock))


@pytest.mark.parametrize("plan_horizon", [1, 7, 20, None])
def test_the_clock_lies_in_its_bounds(small_gac, make_dataset, plan_horizon):
    model = small_gac(policy_kwargs=dict(plan_horizon=plan_horizon)).learn_offline(make_dataset(), 1)
    ages = th.arange(plan_horizon or 1000)
    clock = model.policy.decoder_features(th.zeros(len(ages), 3), ages)[:, -1]
    assert clock.min() == -1 and clock.max() < 1
    assert (clock.diff() > 0).all()


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_new_plan_where_an_episode_starts(model, deterministic):
    _, first = model.predict(observations(seed=1), deterministic=deterministic)
    starts = np.array([False, True, False])
    _, second = model.predict(observations(seed=2), first, starts, deterministic=deterministic)
    np.testing.assert_array_equal((second.plans == first.plans).all(axis=1), ~starts)
    assert second.ages.tolist() == [2, 1, 2]


def test_no_episode_start_means_none_started(model):
    _, first = model.predict(observations(seed=1))
    np.testing.assert_array_equal(model.predict(observations(seed=2), first)[1].plans, first.plans)


def test_without_state_every_observation_starts_a_plan(model):
    for deterministic in (True, False):
        n_plans = {model.predict(observations(), deterministic=deterministic)[1].plans.tobytes() for _ in range(3)}
        assert len(n_plans) == (1 if deterministic else 3)


def test_deterministic_actions_take_no_random_numbers(model):
    th.manual_seed(0)
    np.random.seed(0)
    before = th.get_rng_state(), np.random.get_state()[1].copy()
    model.predict(observations(), deterministic=True)
    assert th.equal(th.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("exploit_steps", [0, 3])
def test_deterministic_actions_are_the_same_in_any_batch(small_gac, make_dataset, exploit_steps):
    model = small_gac(policy_kwargs=dict(exploit_steps=exploit_steps)).learn_offline(make_dataset(), 10)
    together, _ = model.predict(observations(7), deterministic=True)
    one_by_one = [model.predict(observation, deterministic=True)[0] for observation in observations(7)]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-4, atol=1e-5)


def test_exploring_acts_at_random(model):
    actions = [model.predict(observations())[0] for _ in range(2)]
    assert not np.allclose(*actions)


@pytest.mark.parametrize("plan_horizon", [20, None])
def test_exploration_seeks_an_advantage_or_a_return(small_gac, make_dataset, monkeypatch, plan_horizon):
    """One standard deviation of the advantages of segments; the target return of whole trajectories, or one asked for."""
    model = small_gac(policy_kwargs=dict(plan_horizon=plan_horizon)).learn_offline(make_dataset(), 1)
    sought = []
    monkeypatch.setattr(
        "sb3_gac.inference.planner.explore_plan",
        lambda _, predictor, features, target, *args: sought.append((predictor, target.tolist())),
    )
    for target_return in (None, 7.0):
        model.policy.plan(th.zeros(2, 3), target_return=target_return)
    networks = model.policy.model
    assert networks.critic is (networks.return_predictor if plan_horizon is None else networks.advantage_predictor)
    by_itself = pytest.approx([model.target_return.value] * 2) if plan_horizon is None else [1.0, 1.0]
    assert sought == [(networks.critic, by_itself), (networks.return_predictor, [7.0, 7.0])]


def test_exploring_can_be_repeated(model):
    actions = []
    for _ in range(2):
        model.set_random_seed(3)
        actions.append(model.predict(observations())[0])
    np.testing.assert_array_equal(*actions)


def test_inference_leaves_no_gradient(small_gac, make_dataset):
    model = small_gac(policy_kwargs=dict(exploit_steps=2, explore_steps=2)).learn_offline(make_dataset(), 1)
    model.policy.zero_grad()
    for deterministic in (True, False):
        model.predict(observations(), deterministic=deterministic)
    assert all(parameter.grad is None for parameter in model.policy.parameters())


def test_a_return_can_be_asked_for(model, monkeypatch):
    """Plans are ordered by the returns asked for, as the return predictor sees them."""
    monkeypatch.setattr("sb3_gac.inference.planner.N_AVERAGED", 1)  # the average of plans need not be ordered as they are
    obs = th.as_tensor(observations(50))
    features = model.policy.extract_features(obs)
    predictor = model.policy.model.return_predictor

    def predicted(target_return: float) -> float:
        _, state = model.policy.predict(obs.numpy(), deterministic=True, target_return=target_return)
        means, _ = model.policy.model.return_predictor(th.as_tensor(state.plans), features)
        return predictor.unstandardise(means.mean(dim=0)).mean().item()

    low, high = predicted(-1000.0), predicted(1000.0)
    assert low < high
    assert low <= predicted(0.5 * (low + high)) <= high


def test_the_policy_acts_alone(model):
    actions, state = model.predict(observations(), deterministic=True)
    own_actions, own_state = model.policy.predict(observations(), deterministic=True)
    np.testing.assert_array_equal(own_actions, actions)
    np.testing.assert_array_equal(own_state.plans, state.plans)


def test_actions_stay_in_bounds_when_the_weights_are_silly(model):
    silly = {name: 100 * th.rand_like(part) for name, part in model.policy.state_dict().items()}
    model.policy.load_state_dict(silly)
    for deterministic in (True, False):
        actions, _ = model.predict(observations(), deterministic=deterministic)
        assert all(model.action_space.contains(action) for action in actions)


def test_observation_and_info_are_told_apart(model):
    with pytest.raises(ValueError, match=r"obs, info = env.reset\(\)"):
        model.predict((observations(1)[0], {}))


def test_observations_of_another_shape(model):
    with pytest.raises(ValueError, match="Unexpected observation shape"):
        model.predict(np.zeros((2, 4), dtype=np.float32))


def test_the_state_of_other_envs(model):
    _, state = model.predict(observations())
    with pytest.raises(ValueError, match=r"expected \(\(2, 16\), \(2,\)\)"):
        model.predict(observations(2), state)


def test_a_dict_is_planned_for_where_an_episode_starts(small_gac, diary_env):
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)})
    env = DummyVecEnv([lambda: diary_env(space) for _ in range(2)])
    model = small_gac(env, policy="MultiInputLatentPolicy").learn(10)
    _, first = model.predict(env.reset())
    _, second = model.predict(env.reset(), first, np.array([True, False]))
    assert (first.plans == second.plans).all(axis=1).tolist() == [False, True]


def test_evaluation_carries_the_plans(small_gac, diary_env):
    env = DummyVecEnv([lambda: diary_env(length=6)])
    model = small_gac(env).learn(10)
    ages = []

    def note_age(locals_, _):
        ages.append(int(locals_["states"].ages[0]))

    mean, std = evaluate_policy(model, env, n_eval_episodes=2, callback=note_age, warn=False)
    assert (mean, std) == (21.0, 0.0)
    assert ages == [1, 2, 3, 4, 5, 1] * 2  # renewed after five steps, and where an episode starts


@pytest.mark.parametrize("use", [lambda model, path: model.predict(observations()), lambda model, path: model.save(path)])
def test_a_model_without_spaces_says_what_it_lacks(use, tmp_path):
    with pytest.raises(ValueError, match=r"env=.*set_env\(\).*learn_offline\(\)"):
        use(GAC("MlpLatentPolicy"), tmp_path / "model.zip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("space", [BOX, spaces.Dict({"a": BOX, "b": spaces.Discrete(3)})])
def test_few_observations_are_planned_for_at_once(small_gac, diary_env, monkeypatch, space):
    """Memory does not grow with their number, and what comes out does not change."""
    is_dict = isinstance(space, spaces.Dict)
    model = small_gac(diary_env(space), "MultiInputPolicy" if is_dict else "MlpPolicy", policy_kwargs={"replan_freq": 2})
    batch = [space.sample() for _ in range(50)]
    obs = {key: np.stack([sample[key] for sample in batch]) for key in space} if is_dict else np.stack(batch)
    targets, starts = np.linspace(-5, 5, 50), np.arange(50) % 3 == 0

    def act():
        actions, state = model.predict(obs, deterministic=True)
        asked, state = model.policy.predict(obs, state, starts, deterministic=True, target_return=targets)
        aged, state = model.predict(obs, PlanState(state.plans, np.full(50, 2)), ~starts, deterministic=True)
        return [actions, asked, aged, *state]

    expected, sizes = act(), []
    exploit = Planner.exploit

    def count(self, model, first_features, target_return=None):
        sizes.append(len(first_features))
        return exploit(self, model, first_features, target_return)

    monkeypatch.setattr(Planner, "exploit", count)
    monkeypatch.setattr("sb3_gac.inference.planner.CANDIDATES_AT_ONCE", 7 * model.policy.planner.n_candidates)
    for found, whole in zip(act(), expected, strict=True):
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    assert max(sizes) == 7
    explored, state = model.predict(obs)
    assert explored.shape == (50, 2) and len(np.unique(state.plans, axis=0)) == 50


def test_features_are_extracted_once(model):
    """Also where plans are made, for all environments or for some."""
    with mock.patch.object(model.policy, "extract_features", wraps=model.policy.extract_features) as extract:
        _, state = model.predict(observations())
        assert extract.call_count == 1
        model.predict(observations(), state, np.arange(N_ENVS) == 0)
        assert extract.call_count == 2
        model.policy(th.as_tensor(observations()))
    assert extract.call_count == 3


@pytest.mark.parametrize("n", [1, N_ENVS])
@pytest.mark.parametrize("part", ["policy", "policy.actor"])
def test_the_policy_is_called_as_those_of_sb3_are(model, n, part):
    actions = attrgetter(part)(model)(th.as_tensor(observations(n)), deterministic=True)
    expected, _ = model.predict(observations(n), deterministic=True)
    np.testing.assert_allclose(model.policy.unscale_action(actions.detach().numpy()), expected, rtol=1e-5)


class Onnxable(th.nn.Module):
    """As in the documentation of SB3."""

    def __init__(self, policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observation):
        return self.policy(observation, deterministic=True)


@pytest.mark.parametrize("part", ["policy", "policy.actor"])
def test_the_onnx_recipe_of_sb3(small_gac, make_dataset, tmp_path, part):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    runtime = pytest.importorskip("onnxruntime")
    model = small_gac(policy_kwargs=dict(n_candidates=64)).learn_offline(make_dataset(n=20), 20)
    part_of_model = attrgetter(part)(model)
    th.onnx.export(
        Onnxable(part_of_model), (th.randn(1, 3),), tmp_path / "model.onnx", opset_version=18, input_names=["input"]
    )
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for row in observations(50):
        (actions,) = session.run(None, {"input": row[None]})
        expected, _ = model.predict(row[None], deterministic=True)
        np.testing.assert_allclose(model.policy.unscale_action(actions), expected, atol=1e-5)


def test_each_environment_may_be_asked_for_a_return_of_its_own(model):
    policy = model.policy
    low, high = (policy.predict(observations(), deterministic=True, target_return=asked) for asked in (-5.0, 5.0))
    targets = np.array([-5.0, 5.0, -5.0])
    mixed = policy.predict(observations(), deterministic=True, target_return=targets)
    for index, (_, asked_of_all) in enumerate((low, high, low)):
        np.testing.assert_allclose(mixed[1].plans[index], asked_of_all.plans[index], rtol=1e-5)
    # Where one episode starts its own target counts
    _, state = policy.predict(observations(), mixed[1], np.array([False, True, False]), True, targets)
    np.testing.assert_allclose(state.plans[1], high[1].plans[1], rtol=1e-5)


def test_targets_of_another_number_of_environments(model):
    with pytest.raises(ValueError, match=r"target_return has the shape \(2,\), expected a number or \(3,\)"):
        model.policy.predict(observations(), target_return=np.zeros(2))
    _, state = model.predict(observations())
    with pytest.raises(ValueError, match=r"target_return has the shape \(2,\)"):
        model.policy.predict(observations(), state, np.ones(N_ENVS, dtype=bool), target_return=np.zeros(2))
