"""The cross-entropy method as the planner: a file of its own and one line that registers it."""

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_gac import GAC
from sb3_gac.inference import PLANNERS
from sb3_gac.inference.exploit import PRIOR_WEIGHT
from sb3_gac.networks import FilmDecoder, GaussianPrior, ReturnPredictor, TrajectoryModel
from tests.conftest import ACTION
from tests.growth.cross_entropy import CrossEntropyPlanner

OBSERVATIONS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def test_it_finds_the_best_plan_of_a_linear_model():
    """Maximum of slope · ε - c |ε|² / 2 for z = ε: ε = slope / c."""
    slope = th.tensor([0.06, -0.09, 0.2])
    predictor = ReturnPredictor(2, 3, [], nn.ReLU, n_members=1)
    predictor.head.weight.data.zero_()[0, :3, 0] = slope
    predictor.head.bias.data.zero_()
    decoder = FilmDecoder(3, 3, ACTION, [], nn.ReLU)
    model = TrajectoryModel(GaussianPrior(2, 3, [], nn.ReLU), decoder, predictor)
    plans = CrossEntropyPlanner(3, None, n_rounds=12, n_candidates=512, n_elites=64).plan(model, th.zeros(2, 2), True)
    th.testing.assert_close(plans, (slope / PRIOR_WEIGHT).expand(2, 3), rtol=0, atol=0.1)


def test_it_is_chosen_by_name_plans_and_is_saved(small_gac, make_dataset, diary_env, monkeypatch, tmp_path):
    monkeypatch.setitem(PLANNERS, "cross_entropy", CrossEntropyPlanner)
    model = small_gac(policy_kwargs=dict(planner="cross_entropy", n_rounds=2, n_elites=4)).learn_offline(make_dataset(), 20)
    model.set_env(diary_env())
    model.learn(30)
    by_sampling = small_gac().learn_offline(make_dataset(), 0)
    actions, _ = model.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_array_equal(model.predict(OBSERVATIONS, deterministic=True)[0], actions)
    by_sampling.policy.load_state_dict(model.policy.state_dict())
    assert not np.allclose(by_sampling.predict(OBSERVATIONS, deterministic=True)[0], actions)
    model.policy.planner.n_rounds = 3
    model.save(tmp_path / "model")
    loaded = GAC.load(tmp_path / "model")
    assert isinstance(loaded.policy.planner, CrossEntropyPlanner) and loaded.policy.planner.n_rounds == 3
    np.testing.assert_array_equal(*(part.predict(OBSERVATIONS, deterministic=True)[0] for part in (loaded, model)))


def test_it_needs_no_trust_to_be_loaded(small_gac, diary_env, monkeypatch, tmp_path):
    pytest.importorskip("safetensors")
    from sb3_gac import load_safe, save_safe

    monkeypatch.setitem(PLANNERS, "cross_entropy", CrossEntropyPlanner)
    model = small_gac(diary_env(), policy_kwargs=dict(planner="cross_entropy", n_rounds=2)).learn(10)
    loaded = load_safe(save_safe(model, tmp_path / "model"))
    np.testing.assert_array_equal(*(part.predict(OBSERVATIONS, deterministic=True)[0] for part in (loaded, model)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(planner="best"), ValueError, "planner must be one of 'sampling', got 'best'"),
        (dict(n_rounds=2), TypeError, "unexpected keyword argument 'n_rounds'"),
        (dict(planner="cross_entropy", n_rounds=0), ValueError, "n_rounds must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(small_gac, diary_env, monkeypatch, arguments, error, message):
    if "n_rounds" in arguments and "planner" in arguments:
        monkeypatch.setitem(PLANNERS, "cross_entropy", CrossEntropyPlanner)
    with pytest.raises(error, match=message):
        small_gac(diary_env(), policy_kwargs=arguments)
