"""Acting: with plans carried from step to step, and without."""

from operator import attrgetter

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac import GAC
from sb3_gac.actor import REPLAN_MARGIN, PlanActor
from sb3_gac.type_aliases import PlanState

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
    assert first.plans.shape == (N_ENVS, model.actor.plan_dim)
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


def test_plan_temperature(small_gac, make_dataset):
    """Next to none follows the best candidate, a large one hardly tells candidates apart."""
    model = small_gac(policy_kwargs=dict(n_candidates=32, n_averaged=1)).learn_offline(make_dataset(n=20), 20)

    def plans(n_averaged, plan_temperature=None):
        model.actor.n_averaged, model.actor.plan_temperature = n_averaged, plan_temperature
        return model.predict(observations(), deterministic=True)[1].plans

    np.testing.assert_allclose(plans(32, 1e-6), plans(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plans(32, 1e6), plans(32), rtol=1e-4, atol=1e-5)
    assert np.abs(plans(1) - plans(32)).max() > 0.1


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("replan_freq", "steps"), [(0, [0]), (1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (10, [0])])
def test_new_plans_are_looked_for_when_exploiting(small_gac, make_dataset, monkeypatch, replan_freq, steps, deterministic):
    model = small_gac(policy_kwargs=dict(replan_freq=replan_freq)).learn_offline(make_dataset(), 1)
    state, planned_at, plan = None, [], model.actor.plan
    monkeypatch.setattr(model.actor, "plan", lambda *args: (planned_at.append(step), plan(*args))[1])
    for step in range(7):
        _, state = model.predict(observations(seed=step), state, np.zeros(N_ENVS, dtype=bool), deterministic=deterministic)
    assert planned_at == (steps if deterministic else [0])


def test_an_exploiting_policy_keeps_a_plan_unless_the_new_one_promises_more(small_gac, make_dataset):
    kwargs = dict(replan_freq=2, n_candidates=32, n_averaged=1)
    model = small_gac(policy_kwargs=kwargs).learn_offline(make_dataset(n=20), 20)
    obs = observations()
    model.actor.exploit_steps = 30
    _, better = model.predict(obs, deterministic=True)
    model.actor.exploit_steps = 0
    _, best_candidate = model.predict(obs, deterministic=True)
    assert (better.plans != best_candidate.plans).any(axis=1).all()
    worse = np.zeros_like(better.plans[2]) + 10.0  # far from all that the prior holds possible
    carried = PlanState(np.stack([better.plans[0], better.plans[1], worse]), np.array([4, 3, 4]))
    model.actor.prior_weight = 1.0
    _, candidates = model.predict(obs, deterministic=True)
    model.actor.prior_weight = 0.0
    _, state = model.predict(obs, carried, np.zeros(N_ENVS, dtype=bool), deterministic=True)
    np.testing.assert_array_equal(state.plans[:2], better.plans[:2])
    assert state.ages.tolist()[:2] == [5, 4]  # kept, and not looked at yet
    _, state = model.predict(obs, carried, np.array([True, False, False]), deterministic=True)
    np.testing.assert_allclose(state.plans[0], best_candidate.plans[0], rtol=1e-5)  # an episode always starts with a new one
    assert state.ages[0] == 1
    model.actor.prior_weight = 1.0
    _, state = model.predict(obs, carried, np.zeros(N_ENVS, dtype=bool), deterministic=True)
    np.testing.assert_allclose(state.plans[2], candidates.plans[2], rtol=1e-5)
    assert state.ages[2] == 1


@pytest.mark.parametrize(("gain", "is_kept"), [(0.0, True), (0.5, True), (2.0, False)])
def test_a_plan_is_not_given_up_for_next_to_nothing(small_gac, make_dataset, monkeypatch, gain, is_kept):
    """At rest at a goal all that is new promises the same, and leads away from it at first."""
    model = small_gac(policy_kwargs=dict(replan_freq=1)).learn_offline(make_dataset(), 1)
    _, first = model.predict(observations(), deterministic=True)
    worths = iter([th.full((N_ENVS,), 1.0 + gain * REPLAN_MARGIN), th.ones(N_ENVS)])  # of the new plans, of the old
    monkeypatch.setattr(model.actor, "_worth", lambda plans, obs: next(worths))
    _, second = model.predict(observations(seed=1), first, np.zeros(N_ENVS, dtype=bool), deterministic=True)
    assert second.ages.tolist() == [2 if is_kept else 1] * N_ENVS
    assert (second.plans == first.plans).all() == is_kept


def test_a_return_is_asked_of_the_whole_episode(small_gac, make_dataset):
    """From the middle of an episode on, only a part of the return that was asked for is left to be had."""
    model = small_gac(policy_kwargs=dict(replan_freq=1)).learn_offline(make_dataset(n=20), 20)
    _, first = model.policy.predict(observations(seed=1), deterministic=True, target_return=3.0)
    state = first
    for seed in (2, 3, 4):
        _, state = model.policy.predict(observations(seed=seed), state, deterministic=True, target_return=3.0)
    np.testing.assert_array_equal(state.plans, first.plans)
    assert state.ages.tolist() == [4] * N_ENVS


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


def test_a_plan_is_followed_without_noise_if_asked(small_gac, make_dataset):
    model = small_gac(policy_kwargs=dict(use_action_noise=False)).learn_offline(make_dataset(), 1)
    _, state = model.predict(observations())
    actions = [model.predict(observations(), state)[0] for _ in range(2)]
    np.testing.assert_array_equal(*actions)


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
    monkeypatch.setattr(model.actor, "n_averaged", 1)  # the average of plans need not be ordered as they are
    obs = th.as_tensor(observations(50))
    features = model.actor.extract_features(obs, at_start=True)
    predictor = model.actor.model.return_predictor

    def predicted(target_return: float) -> float:
        _, state = model.policy.predict(obs.numpy(), deterministic=True, target_return=target_return)
        means, _ = model.actor.model.predict_return(th.as_tensor(state.plans), features)
        return predictor.unstandardise(means.mean(dim=0)).mean().item()

    low, high = predicted(-1000.0), predicted(1000.0)
    assert low < high
    assert low <= predicted(0.5 * (low + high)) <= high


def test_the_actor_acts_alone(model):
    actions, state = model.predict(observations(), deterministic=True)
    actor_actions, actor_state = model.actor.predict(observations(), deterministic=True)
    np.testing.assert_array_equal(actor_actions, actions)
    np.testing.assert_array_equal(actor_state.plans, state.plans)


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
    assert ages == [1, 2, 3, 4, 5, 6] * 2


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
    extract = PlanActor.extract_features

    def count(self, obs, *args, **kwargs):
        sizes.append(len(obs["a"] if is_dict else obs))
        return extract(self, obs, *args, **kwargs)

    monkeypatch.setattr(PlanActor, "extract_features", count)
    monkeypatch.setattr("sb3_gac.actor.CANDIDATES_AT_ONCE", 7 * model.policy.actor.n_candidates)
    for found, whole in zip(act(), expected, strict=True):
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    assert max(sizes) == 7
    explored, _ = model.predict(obs)
    assert explored.shape == (50, 2) and len(np.unique(explored, axis=0)) > 40


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
    model = small_gac(policy_kwargs=dict(n_candidates=64, n_decoders=2)).learn_offline(make_dataset(n=20), 20)
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
