"""The return predictor against closed forms, one member at a time, and across changes of units."""

import copy

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Normal

from sb3_gac.networks import ReturnPredictor
from sb3_gac.networks.return_predictor import LOG_STD_MAX, LOG_STD_MIN, EnsembleLinear

FEATURES_DIM, PLAN_DIM, N_MEMBERS, BATCH_SIZE = 3, 2, 4, 6

means = st.floats(-1e4, 1e4)
stds = st.floats(1e-2, 1e4)


def make_predictor(net_arch=(8, 8), n_members=N_MEMBERS) -> ReturnPredictor:
    th.manual_seed(0)
    return ReturnPredictor(FEATURES_DIM, PLAN_DIM, list(net_arch), nn.Tanh, n_members)


def make_inputs(batch_size=BATCH_SIZE) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(1)
    return th.randn(batch_size, PLAN_DIM, generator=generator), th.randn(batch_size, FEATURES_DIM, generator=generator)


def member(predictor: ReturnPredictor, index: int) -> nn.Sequential:
    """One member as ordinary layers."""
    layers: list[nn.Module] = []
    for layer in [*predictor.hidden_net, predictor.head]:
        if isinstance(layer, EnsembleLinear):
            linear = nn.Linear(*layer.weight.shape[1:])
            linear.weight.data = layer.weight[index].T
            linear.bias.data = layer.bias[index, 0]
            layers.append(linear)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("net_arch", [(), (8,), (8, 5)])
def test_ensemble_is_a_loop_over_members(net_arch):
    predictor, (plans, first_features) = make_predictor(net_arch), make_inputs()
    mean, log_std = predictor(plans, first_features)
    assert mean.shape == log_std.shape == (N_MEMBERS, BATCH_SIZE)
    for i in range(N_MEMBERS):
        expected = member(predictor, i)(th.cat((plans, first_features), dim=-1))
        th.testing.assert_close(mean[i], expected[:, 0])
        th.testing.assert_close(log_std[i], expected[:, 1].clamp(LOG_STD_MIN, LOG_STD_MAX))


def test_members_differ():
    mean, _ = make_predictor()(*make_inputs())
    assert (mean.std(dim=0) > 0).all()


def test_log_prob_is_the_mean_over_members_of_standardised_gaussians():
    predictor, (plans, first_features) = make_predictor(), make_inputs()
    predictor.set_statistics(mean=50.0, std=20.0)
    returns = 50 + 20 * th.randn(BATCH_SIZE)
    mean, log_std = predictor(plans, first_features)
    expected = Normal(mean, log_std.exp()).log_prob((returns - 50) / 20).mean(dim=0)
    th.testing.assert_close(predictor.log_prob(returns, plans, first_features), expected)


@pytest.mark.parametrize(("raw", "bound"), [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_log_std_is_bounded(raw, bound):
    predictor = make_predictor()
    predictor.head.bias.data[..., 1] = raw
    _, log_std = predictor(*make_inputs())
    assert (log_std == bound).all()


@settings(deadline=None)
@given(mean=means, std=stds, standardised=st.floats(-5, 5))
def test_units_and_back(mean, std, standardised):
    predictor = ReturnPredictor(1, 1, [], nn.ReLU, 1)
    predictor.set_statistics(mean, std)
    there = predictor.unstandardise(th.tensor(standardised))
    assert there.item() == pytest.approx(mean + std * standardised, rel=1e-4, abs=1e-2)
    back = predictor.standardise(there)
    assert back.item() == pytest.approx(standardised, abs=1e-5 + 1e-6 * abs(mean) / std)


@settings(max_examples=50, deadline=None)
@given(first=st.tuples(means, stds), second=st.tuples(means, stds), third=st.tuples(means, stds))
def test_new_statistics_leave_predicted_returns_unchanged(first, second, third):
    predictor, inputs = make_predictor().double(), [part.double() for part in make_inputs()]
    predictor.set_statistics(*first)
    before = predictor.unstandardise(predictor(*inputs)[0])
    for mean, std in (second, third):
        predictor.set_statistics(mean, std)
        assert (predictor.return_mean.item(), predictor.return_std.item()) == (mean, std)
        after = predictor.unstandardise(predictor(*inputs)[0])
        th.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)


def test_first_statistics_are_taken_as_they_are():
    """A new network has nothing to keep: rescaled, it would start at minus six standard deviations, certain of it."""
    predictor, inputs = make_predictor(), make_inputs()
    before = predictor(*inputs)
    predictor.set_statistics(mean=-1200.0, std=200.0)
    for part, part_before in zip(predictor(*inputs), before, strict=True):
        th.testing.assert_close(part, part_before)


def test_whether_there_are_statistics_is_saved():
    predictor, inputs = make_predictor(), make_inputs()
    predictor.set_statistics(mean=-1200.0, std=200.0)
    loaded = make_predictor()
    loaded.load_state_dict(copy.deepcopy(predictor.state_dict()))
    before = loaded.unstandardise(loaded(*inputs)[0])
    loaded.set_statistics(mean=0.0, std=1.0)
    th.testing.assert_close(loaded.unstandardise(loaded(*inputs)[0]), before, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("is_certain", [False, True])
def test_learns_a_spread_whatever_the_units_and_the_past(is_certain):
    """Returns of 1000 + 300 z_1 + noise of 150, told also to a predictor that equal returns have made certain."""
    predictor = make_predictor((16,))
    if is_certain:
        predictor.set_statistics(1000.0, 1e-3)
        predictor.head.weight.data.zero_()
        predictor.head.bias.data.zero_()[..., 1] = LOG_STD_MIN - 1
    predictor.set_statistics(1000.0, 335.0)
    optimizer = th.optim.Adam(predictor.parameters(), lr=0.01)
    for _ in range(300):
        plans = th.randn(64, PLAN_DIM)
        returns = 1000 + 300 * plans[:, 0] + 150 * th.randn(64)
        optimizer.zero_grad()
        (-predictor.log_prob(returns, plans, th.zeros(64, FEATURES_DIM)).mean()).backward()
        nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
        optimizer.step()
    with th.no_grad():
        mean, log_std = predictor(th.tensor([[-1.0, 0.0], [1.0, 0.0]]), th.zeros(2, FEATURES_DIM))
    predicted = predictor.unstandardise(mean.mean(dim=0))
    th.testing.assert_close(predicted, th.tensor([700.0, 1300.0]), rtol=0, atol=90.0)
    assert 335 * log_std.exp().mean().item() == pytest.approx(150, rel=0.3)
