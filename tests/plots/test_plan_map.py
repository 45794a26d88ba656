from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_gac.plots import PlanMap, infer_plan_map, plot_plan_map
from sb3_gac.plots.plan_map import _coordinates, _principal_axes

pytest.importorskip("matplotlib")


def test_the_axes_are_the_principal_ones_and_the_return_rises_along_them() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]  # (2, 5), orthonormal
    coordinates = rng.normal(size=(400, 2))
    coordinates -= coordinates.mean(axis=0)
    coordinates = np.linalg.svd(coordinates, full_matrices=False)[0] * [20.0, 10.0]
    plans = 3.0 + coordinates @ directions
    origin, axes, explained = _principal_axes(plans, returns=coordinates @ [1.0, -1.0])
    np.testing.assert_allclose(origin, 3.0 * np.ones(5))
    np.testing.assert_allclose((plans - origin) @ axes, coordinates * [1, -1], atol=1e-9)
    np.testing.assert_allclose(explained, [0.8, 0.2])


@pytest.mark.parametrize("n_numbers", [1, 2])
def test_plans_of_few_numbers_have_a_map_too(n_numbers: int) -> None:
    plans = np.arange(6.0).reshape(-1, n_numbers)
    origin, axes, explained = _principal_axes(plans, plans[:, 0])
    assert ((plans - origin) @ axes).shape == (len(plans), 2)
    assert explained[0] == pytest.approx(1.0)


def test_a_map_has_as_many_plans_as_asked_for(small_gac: Any, diary_env: Any, make_dataset: Any) -> None:
    model = small_gac(diary_env())
    with pytest.raises(ValueError, match="no trajectories"):
        infer_plan_map(model)
    model.learn_offline(make_dataset(), 2)  # returns 0, 5, ..., 25
    plan_map = infer_plan_map(model, n_trajectories=10, n_starts=7)
    assert plan_map.plans.shape == (10, 2) and plan_map.returns.shape == (10,)
    assert plan_map.exploited.shape == plan_map.explored.shape == (7, 2)
    assert set(plan_map.returns) <= {0.0, 5.0, 10.0, 15.0, 20.0, 25.0}
    assert plan_map.target_return == model.target_return.value
    assert infer_plan_map(model, 10, 7, use_noise=True).plans.shape == (10, 2)
    model.learn(30)  # six episodes of five steps, so that there is a replay buffer too
    assert infer_plan_map(model, n_trajectories=11, n_starts=3).plans.shape == (11, 2)


def test_drawing_a_map_changes_nothing_of_what_is_learnt(small_gac: Any, diary_env: Any, make_dataset: Any) -> None:
    data, weights = make_dataset(), []
    for is_drawn in (False, True):
        model = small_gac(diary_env(), posterior_steps=2)
        model.learn_offline(data, 2)
        if is_drawn:
            infer_plan_map(model, 10, 5)
        model.learn_offline(None, 2)
        weights.append(th.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert th.equal(*weights)


def test_a_figure_shows_the_map() -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(size=20)
    plan_map = PlanMap(
        rng.normal(size=(20, 2)),
        returns,
        np.array([[1.0, 2.0]]),
        np.array([[3.0, 4.0], [5.0, 6.0]]),
        np.array([0.6, 0.3]),
        7.5,
    )
    figure = plot_plan_map(plan_map, "title")
    axes = figure.axes[0]
    known, explored, exploited = axes.collections
    order = np.argsort(returns)
    np.testing.assert_allclose(known.get_offsets(), plan_map.plans[order])
    np.testing.assert_allclose(known.get_array(), returns[order])
    np.testing.assert_allclose(exploited.get_offsets(), plan_map.exploited)
    np.testing.assert_allclose(explored.get_offsets(), plan_map.explored)
    assert "60 % of the variance" in axes.get_xlabel() and "30 % of the variance" in axes.get_ylabel()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["behind 20 trajectories", "explored, given a return of 7.5", "exploited: largest predicted return"]
    assert figure.get_suptitle() == "title"


def test_more_starts_than_trajectories_are_refused(small_gac: Any, diary_env: Any) -> None:
    with pytest.raises(ValueError, match="n_starts must be in"):
        infer_plan_map(small_gac(diary_env()), n_trajectories=3, n_starts=4)


def test_the_noise_of_a_plan_is_what_the_prior_makes_it_from(small_gac: Any, diary_env: Any) -> None:
    model = small_gac(diary_env())
    starts, noise = th.randn(4, 3), th.randn(4, model.policy.plan_dim)
    plans = model.policy.model.plan_prior(model.policy.extract_features(starts)).at(noise).detach()
    with th.no_grad():
        np.testing.assert_allclose(_coordinates(model, plans, starts, use_noise=True), noise, atol=1e-5)
        np.testing.assert_array_equal(_coordinates(model, plans, starts, use_noise=False), plans)
