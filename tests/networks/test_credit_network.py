"""Value, baseline and advantage: what each may see, and in which units it speaks."""

import pytest
import torch as th
from torch import nn

from sb3_gac.networks import Credit, CreditNetwork, RewardPredictor, SpreadPredictor
from sb3_gac.networks.credit_network import LOG_STD_MAX, LOG_STD_MIN, NEGATIVE_SLOPE

FEATURES_DIM, ACTION_DIM, N_MEMBERS, N_STEPS = 3, 2, 2, 7

every_credit = pytest.mark.parametrize("credit", Credit, ids=lambda credit: credit.name)


@pytest.fixture
def net() -> CreditNetwork:
    """A network with statistics, and weights that are not those of a new one."""
    net = CreditNetwork(FEATURES_DIM, ACTION_DIM, [8, 5], N_MEMBERS)
    for credit in Credit:
        net.set_statistics(credit, 10.0 * credit, 2.0 + credit)
    with th.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


@pytest.fixture
def steps() -> th.Tensor:
    return th.randn(N_STEPS, FEATURES_DIM + ACTION_DIM)


def one_member(net: CreditNetwork, credit: Credit, index: int, steps: th.Tensor) -> th.Tensor:
    """What one member says, through ordinary layers."""
    hidden = steps.clone()
    if credit != Credit.ADVANTAGE:
        hidden[:, FEATURES_DIM:] = 0.0
    row = credit * N_MEMBERS + index
    for layer in net.layers:
        hidden = hidden @ layer.weight[row] + layer.bias[row]
        if layer is not net.layers[-1]:
            hidden = nn.functional.leaky_relu(hidden, NEGATIVE_SLOPE)
    return hidden[:, 0]


def test_every_member_alone(net, steps):
    predictions = net(steps.expand(N_MEMBERS, -1, -1))
    assert predictions.shape == (len(Credit), N_MEMBERS, N_STEPS)
    for credit in Credit:
        for index in range(N_MEMBERS):
            th.testing.assert_close(predictions[credit, index], one_member(net, credit, index, steps))


def test_each_member_sees_steps_of_its_own(net, steps):
    others = th.randn_like(steps)
    mixed = net(th.stack([steps, others]))
    th.testing.assert_close(mixed[:, 0], net(steps.expand(N_MEMBERS, -1, -1))[:, 0])
    th.testing.assert_close(mixed[:, 1], net(others.expand(N_MEMBERS, -1, -1))[:, 1])


@every_credit
def test_predict_is_forward_in_env_units(net, steps, credit):
    standardised = net(steps.expand(N_MEMBERS, -1, -1))[credit]
    predictions = net.predict(credit, steps)
    assert predictions.dtype == th.float64 and not predictions.requires_grad
    th.testing.assert_close(predictions, standardised.double() * (2.0 + credit) + 10.0 * credit)


@every_credit
def test_the_advantage_alone_sees_the_action(net, steps, credit):
    before, other_actions = net.predict(credit, steps), steps.clone()
    other_actions[:, FEATURES_DIM:] = 100.0
    is_equal = net.predict(credit, other_actions) == before
    assert not is_equal.any() if credit == Credit.ADVANTAGE else is_equal.all()


@every_credit
def test_all_see_the_observation(net, steps, credit):
    before, other_observations = net.predict(credit, steps), steps.clone()
    other_observations[:, :FEATURES_DIM] += 1.0
    assert (net.predict(credit, other_observations) != before).all()


@every_credit
def test_new_statistics_change_no_prediction(net, steps, credit):
    before, standardised = [net.predict(other, steps) for other in Credit], net(steps.expand(N_MEMBERS, -1, -1))
    net.set_statistics(credit, -30.0, 0.5)
    for other in Credit:
        th.testing.assert_close(net.predict(other, steps), before[other], rtol=1e-5, atol=1e-5)
    after = net(steps.expand(N_MEMBERS, -1, -1))
    expected = ((2.0 + credit) * standardised[credit] + 10.0 * credit + 30.0) / 0.5
    th.testing.assert_close(after[credit], expected, rtol=1e-4, atol=1e-4)
    for other in set(Credit) - {credit}:
        assert th.equal(after[other], standardised[other])


@every_credit
def test_it_starts_as_the_first_mean(steps, credit):
    net = CreditNetwork(FEATURES_DIM, ACTION_DIM, [8], N_MEMBERS)
    net.set_statistics(credit, 7.0, 2.0)
    th.testing.assert_close(net.predict(credit, steps), th.full((N_MEMBERS, N_STEPS), 7.0, dtype=th.float64))


def test_it_is_new_until_it_knows_the_unit_of_values():
    net = CreditNetwork(FEATURES_DIM, ACTION_DIM, [8])
    assert net.is_new
    net.set_statistics(Credit.ADVANTAGE, 0.0, 1.0)
    assert net.is_new
    net.set_statistics(Credit.VALUE, 7.0, 2.0)
    assert not net.is_new


def test_members_learn_alone(net, steps):
    """The loss of one member of the value moves no other member, nor baseline and advantage."""
    net(steps.expand(N_MEMBERS, -1, -1))[Credit.VALUE, 1].square().sum().backward()
    for layer in net.layers:
        moved = (layer.weight.grad != 0).flatten(1).any(dim=1).nonzero().flatten().tolist()
        assert moved == [Credit.VALUE * N_MEMBERS + 1]


def test_statistics_are_saved(net, steps):
    loaded = CreditNetwork(FEATURES_DIM, ACTION_DIM, [8, 5], N_MEMBERS)
    loaded.load_state_dict(net.state_dict())
    assert not loaded.is_new
    for credit in Credit:
        assert th.equal(loaded.predict(credit, steps), net.predict(credit, steps))


@pytest.fixture
def reward_net() -> RewardPredictor:
    return RewardPredictor(3, [8], nn.Tanh)


def test_rewards_start_as_the_first_mean(reward_net):
    reward_net.set_statistics(7.0, 2.0)
    th.testing.assert_close(reward_net.predict(th.randn(5, 3)), th.full((5,), 7.0, dtype=th.float64))


def test_new_statistics_change_no_reward(reward_net):
    reward_net.set_statistics(7.0, 2.0)
    with th.no_grad():
        for parameter in reward_net.parameters():
            parameter.copy_(th.randn_like(parameter))
    inputs = th.randn(5, 3)
    before, standardised = reward_net.predict(inputs), reward_net(inputs)
    reward_net.set_statistics(-30.0, 0.5)
    th.testing.assert_close(reward_net.predict(inputs), before, rtol=1e-5, atol=1e-5)
    th.testing.assert_close(reward_net(inputs), ((7.0 + 2.0 * standardised) + 30.0) / 0.5, rtol=1e-4, atol=1e-4)


def test_a_spread_by_hand():
    predictor = SpreadPredictor(2, [], nn.ReLU)
    (layer,) = predictor.net
    layer.weight.data = th.tensor([[1.0, 2.0], [0.5, 0.0]])
    layer.bias.data = th.tensor([3.0, -1.0])
    mean, log_std = predictor(th.tensor([[1.0, 1.0], [2.0, -1.0]]))
    assert mean.tolist() == [6.0, 3.0]
    assert log_std.tolist() == [-0.5, 0.0]


@pytest.mark.parametrize(("raw", "bound"), [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_the_log_std_of_a_spread_is_bounded(raw, bound):
    predictor = SpreadPredictor(2, [8], nn.ReLU)
    predictor.net[-1].bias.data[1] = raw
    mean, log_std = predictor(th.randn(5, 2))
    assert mean.shape == (5,)
    assert (log_std == bound).all()


def test_a_spread_learns_a_mean_and_a_spread_that_depend_on_the_features():
    """N(3, 0.5²) where the feature is 1, N(-1, 2²) where it is -1."""
    predictor = SpreadPredictor(1, [16], nn.ReLU)
    optimizer = th.optim.Adam(predictor.parameters(), lr=0.01)
    for _ in range(600):
        features = th.randint(2, (256, 1)) * 2.0 - 1
        is_first = features[:, 0] > 0
        targets = th.where(is_first, 3.0, -1.0) + th.where(is_first, 0.5, 2.0) * th.randn(256)
        mean, log_std = predictor(features)
        optimizer.zero_grad()
        (0.5 * ((targets - mean) * (-log_std).exp()).square() + log_std).mean().backward()
        optimizer.step()
    mean, log_std = predictor(th.tensor([[1.0], [-1.0]]))
    th.testing.assert_close(mean, th.tensor([3.0, -1.0]), rtol=0, atol=0.25)
    th.testing.assert_close(log_std.exp(), th.tensor([0.5, 2.0]), rtol=0.15, atol=0)
