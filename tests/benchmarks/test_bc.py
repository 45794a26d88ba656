from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

pytest.importorskip("yaml")

from benchmarks.bc import CLONING, BehaviourCloning, best_trajectories
from benchmarks.recipes import change, load_yaml
from sb3_gac.data import Trajectory

DIRECTION = np.array([[0.8], [-0.4]])


def make_trajectory(n_steps: int, total_return: float, sign: float = 1.0, seed: int = 0) -> Trajectory:
    """Actions are a linear function of the observations, up to its sign."""
    observations = np.random.default_rng(seed).uniform(-1, 1, size=(n_steps, 2)).astype(np.float32)
    rewards = np.zeros(n_steps)
    rewards[-1] = total_return
    actions = (sign * observations @ DIRECTION).astype(np.float32).clip(-1, 1)
    return Trajectory(observations, actions, rewards, terminated=False, truncated=True)


def test_the_best_trajectories_hold_a_share_of_the_transitions() -> None:
    trajectories = [make_trajectory(n_steps, r) for n_steps, r in [(50, 1.0), (10, 4.0), (30, 3.0), (10, 2.0)]]

    def returns(fraction: float) -> list[float]:
        return [trajectory.total_return for trajectory in best_trajectories(trajectories, fraction)]

    assert returns(0.05) == [4.0]
    assert returns(0.1) == [4.0]
    assert returns(0.11) == [4.0, 3.0]
    assert returns(0.45) == [4.0, 3.0, 2.0]
    assert returns(1.0) == [4.0, 3.0, 2.0, 1.0]
    with pytest.raises(ValueError, match="fraction"):
        best_trajectories(trajectories, 0.0)


def make_model(**settings: Any) -> BehaviourCloning:
    """As the offline command makes it: the settings of cloning win over those of the recipe."""
    params = {"batch_size": 8, "policy_kwargs": {"net_arch": [32]}, "learning_rate": 1e-2, **settings}
    return BehaviourCloning("MlpLatentPolicy", seed=0, device="cpu", **change(params, load_yaml(CLONING)))


def test_it_clones_what_was_recorded_alone() -> None:
    trajectories = [make_trajectory(30, 1.0, seed=seed) for seed in range(3)]
    for settings in ({"policy_kwargs": {"net_arch": [8], "plan_horizon": 20}}, {"advantage_temperature": 1.0}):
        model = make_model(**settings)
        model.learn_offline(trajectories, 1)
        assert model.offline_buffer is not None
        assert model.offline_buffer.lengths.tolist() == [30] * 3
        assert (model.offline_buffer.sample(3, 9).weights == 1).all()


def test_it_clones_what_it_is_shown_and_saves_it(tmp_path: Path) -> None:
    good = [make_trajectory(40, 10.0 + seed, seed=seed) for seed in range(3)]
    bad = [make_trajectory(360, 0.0, sign=-1.0, seed=seed) for seed in range(3, 6)]
    model = make_model().learn_offline(best_trajectories([*bad, *good], 0.1), 200)
    observations = np.random.default_rng(9).uniform(-0.9, 0.9, size=(64, 2)).astype(np.float32)
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions, observations @ DIRECTION, atol=0.1)

    model.save(tmp_path / "model")
    loaded = BehaviourCloning.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], actions)


def test_its_plan_is_zero_and_nothing_but_the_decoder_learns() -> None:
    model = make_model()
    model.learn_offline([make_trajectory(40, 1.0)], 1)
    before = {name: parameter.clone() for name, parameter in model.policy.named_parameters()}
    model.train(3)
    changed = {name for name, parameter in model.policy.named_parameters() if not th.equal(parameter, before[name])}
    assert changed
    assert all(name.startswith("model.decoder.") for name in changed)
    assert not model.policy.plan(th.zeros(3, 2), deterministic=True).any()
    assert not model.policy.plan(th.ones(3, 2), deterministic=True, target_return=5.0).any()


def test_it_is_shown_as_many_actions_as_gac_scores() -> None:
    model = make_model()
    model.set_offline_data([make_trajectory(40, 1.0)])
    batch = model._sample_batch(8, 2 * model.n_sampled_steps)
    assert batch.actions.shape == (8 * model.n_sampled_steps, 1, 1)
