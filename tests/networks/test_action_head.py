"""Likelihoods of actions against torch.distributions."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.distributions import Bernoulli, Categorical, Normal

from sb3_gac.networks.action_head import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    MIN_SAMPLE_STD,
    RANDOM_SAMPLE_RATIO,
    CategoricalActionHead,
    GaussianActionHead,
    make_action_head,
)

HIDDEN_DIM, BATCH_SIZE, N_STEPS = 5, 4, 3
BOX = spaces.Box(-2.0, 3.0, (2,), np.float32)
DISCRETE = spaces.Discrete(4)
MULTI_DISCRETE = spaces.MultiDiscrete([2, 3])
MULTI_BINARY = spaces.MultiBinary(3)

in_a_batch = pytest.mark.parametrize("shape", [(BATCH_SIZE,), (BATCH_SIZE, N_STEPS)], ids=["batch", "batch of steps"])
every_space = pytest.mark.parametrize("space", [BOX, DISCRETE, MULTI_DISCRETE, MULTI_BINARY], ids=lambda s: type(s).__name__)


def sample_actions(space: spaces.Space, shape: tuple[int, ...]) -> th.Tensor:
    """Buffer actions of shape (*shape, action_dim)."""
    if isinstance(space, spaces.Box):
        return 2 * th.rand(*shape, *space.shape) - 1
    space.seed(0)
    samples = np.stack([np.atleast_1d(space.sample()) for _ in range(int(np.prod(shape)))])
    return th.as_tensor(samples).float().view(*shape, -1)


@in_a_batch
def test_gaussian(shape):
    head = make_action_head(HIDDEN_DIM, BOX)
    assert isinstance(head, GaussianActionHead)
    hidden, actions = 3 * th.randn(*shape, HIDDEN_DIM), sample_actions(BOX, shape)
    mean, log_std = head.net(hidden).chunk(2, dim=-1)
    expected = Normal(mean.tanh(), log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()).log_prob(actions).sum(dim=-1)
    log_prob = head.log_prob(head(hidden), actions)
    assert log_prob.shape == shape
    th.testing.assert_close(log_prob, expected)


@pytest.mark.parametrize(("raw", "bound"), [(-20.0, LOG_STD_MIN), (20.0, LOG_STD_MAX)])
def test_gaussian_log_std_is_bounded(raw, bound):
    head = make_action_head(HIDDEN_DIM, BOX)
    head.net.bias.data[2:] = raw
    hidden, actions = th.randn(BATCH_SIZE, HIDDEN_DIM), sample_actions(BOX, (BATCH_SIZE,))
    mean = head.net(hidden)[:, :2].tanh()
    expected = Normal(mean, np.exp(bound)).log_prob(actions).sum(dim=-1)
    th.testing.assert_close(head.log_prob(head(hidden), actions), expected)


def test_gaussian_acts():
    head = make_action_head(HIDDEN_DIM, BOX)
    head.net.weight.data.zero_()
    head.net.bias.data = th.tensor([0.3, -5.0, -1.0, -1.0])
    hidden = th.zeros(20_000, HIDDEN_DIM)
    th.testing.assert_close(head.act(head(hidden), deterministic=True)[0], th.tensor([0.3, -5.0]).tanh())
    sampled = head.act(head(hidden), deterministic=False)
    assert sampled.abs().max() <= 1
    # The first mean is three standard deviations from the bounds, the second lies on one
    assert sampled[:, 0].mean().item() == pytest.approx(np.tanh(0.3), abs=0.02)
    assert sampled[:, 0].std().item() == pytest.approx(np.exp(-1), rel=0.05)
    assert (sampled[:, 1] == -1).float().mean().item() == pytest.approx(0.5, abs=0.02)


@in_a_batch
def test_discrete(shape):
    head = make_action_head(HIDDEN_DIM, DISCRETE)
    assert isinstance(head, CategoricalActionHead)
    hidden, actions = th.randn(*shape, HIDDEN_DIM), sample_actions(DISCRETE, shape)
    log_prob = head.log_prob(head(hidden), actions)
    assert log_prob.shape == shape
    th.testing.assert_close(log_prob, Categorical(logits=head.net(hidden)).log_prob(actions[..., 0]))


@in_a_batch
def test_multi_discrete(shape):
    head = make_action_head(HIDDEN_DIM, MULTI_DISCRETE)
    hidden, actions = th.randn(*shape, HIDDEN_DIM), sample_actions(MULTI_DISCRETE, shape)
    first, second = head.net(hidden).split((2, 3), dim=-1)
    expected = Categorical(logits=first).log_prob(actions[..., 0]) + Categorical(logits=second).log_prob(actions[..., 1])
    log_prob = head.log_prob(head(hidden), actions)
    assert log_prob.shape == shape
    th.testing.assert_close(log_prob, expected)


@in_a_batch
def test_multi_binary(shape):
    head = make_action_head(HIDDEN_DIM, MULTI_BINARY)
    hidden, actions = th.randn(*shape, HIDDEN_DIM), sample_actions(MULTI_BINARY, shape)
    log_prob = head.log_prob(head(hidden), actions)
    assert log_prob.shape == shape
    th.testing.assert_close(log_prob, Bernoulli(logits=head.net(hidden)).log_prob(actions).sum(dim=-1))


@pytest.mark.parametrize("space", [DISCRETE, MULTI_DISCRETE, MULTI_BINARY], ids=lambda s: type(s).__name__)
def test_probabilities_of_all_actions_sum_to_one(space):
    head = make_action_head(HIDDEN_DIM, space)
    if isinstance(space, spaces.Discrete):
        actions = th.arange(4.0).unsqueeze(-1)
    elif isinstance(space, spaces.MultiDiscrete):
        actions = th.cartesian_prod(th.arange(2.0), th.arange(3.0))
    else:
        actions = th.cartesian_prod(*[th.arange(2.0)] * 3)
    hidden = th.randn(1, HIDDEN_DIM).expand(len(actions), -1)
    assert head.log_prob(head(hidden), actions).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("space", [DISCRETE, MULTI_DISCRETE, MULTI_BINARY], ids=lambda s: type(s).__name__)
def test_the_deterministic_action_is_the_most_likely(space):
    head = make_action_head(HIDDEN_DIM, space)
    hidden = 5 * th.randn(BATCH_SIZE, HIDDEN_DIM)
    best = head.log_prob(head(hidden), head.act(head(hidden), deterministic=True))
    for _ in range(20):
        other = sample_actions(space, (BATCH_SIZE,))[th.randperm(BATCH_SIZE)]
        assert (best >= head.log_prob(head(hidden), other) - 1e-6).all()


def test_sampled_actions_follow_their_probabilities():
    head = make_action_head(HIDDEN_DIM, DISCRETE)
    hidden = th.randn(1, HIDDEN_DIM)
    sampled = head.act(head(hidden.expand(20_000, -1)), deterministic=False)
    frequencies = sampled.long().flatten().bincount(minlength=4) / len(sampled)
    right = (1 - RANDOM_SAMPLE_RATIO) * head.net(hidden)[0].softmax(dim=-1) + RANDOM_SAMPLE_RATIO / 4
    th.testing.assert_close(frequencies, right, rtol=0, atol=0.01)


@pytest.mark.parametrize(("space", "n_others"), [(DISCRETE, 3 / 4), (MULTI_BINARY, 1 / 2)], ids=str)
def test_what_is_certain_is_sampled_with_some_noise(space, n_others):
    head = make_action_head(HIDDEN_DIM, space)
    parameters = th.full((20_000, head.net.out_features), -50.0)
    parameters[:, 0] = 50.0
    best = head.act(parameters, deterministic=True)
    is_other = (head.act(parameters, deterministic=False) != best).float().mean().item()
    assert is_other == pytest.approx(RANDOM_SAMPLE_RATIO * n_others, abs=0.01)


def test_a_narrow_gaussian_is_sampled_with_some_noise():
    head = make_action_head(HIDDEN_DIM, BOX)
    parameters = th.tensor([[0.0, 0.2, -3.0, -3.0]]).expand(20_000, -1)
    sampled = head.act(parameters, deterministic=False)
    th.testing.assert_close(sampled.std(dim=0), th.full((2,), MIN_SAMPLE_STD), rtol=0.05, atol=0)
    th.testing.assert_close(head.act(parameters, deterministic=True)[0], parameters[0, :2])


@every_space
@pytest.mark.parametrize("deterministic", [False, True])
def test_acted_actions_are_buffer_actions(space, deterministic):
    head = make_action_head(HIDDEN_DIM, space)
    actions = head.act(head(th.randn(BATCH_SIZE, HIDDEN_DIM)), deterministic)
    assert actions.shape == (BATCH_SIZE, head.action_dim)
    assert actions.dtype == th.float32
    if not isinstance(space, spaces.Box):
        assert all(space.contains(action.reshape(space.shape).astype(space.dtype)) for action in actions.detach().numpy())


def test_encode_box_and_multi_binary_as_they_are():
    for space in (BOX, MULTI_BINARY):
        head = make_action_head(HIDDEN_DIM, space)
        actions = sample_actions(space, (BATCH_SIZE, N_STEPS))
        assert head.encode(actions) is actions
        assert head.encoded_dim == actions.shape[-1]


def test_encode_integers_as_one_hot():
    head = make_action_head(HIDDEN_DIM, DISCRETE)
    assert head.encoded_dim == 4
    assert head.encode(th.tensor([[[2.0], [0.0]]])).tolist() == [[[0, 0, 1, 0], [1, 0, 0, 0]]]
    head = make_action_head(HIDDEN_DIM, MULTI_DISCRETE)
    assert head.encoded_dim == 5
    assert head.encode(th.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist() == [[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]]


@every_space
def test_a_head_that_has_been_used_can_be_copied(space):
    head = make_action_head(HIDDEN_DIM, space)
    hidden, actions = th.randn(BATCH_SIZE, HIDDEN_DIM), sample_actions(space, (BATCH_SIZE,))
    log_prob = head.log_prob(head(hidden), actions)
    copied = copy.deepcopy(head)
    assert th.equal(copied.log_prob(copied(hidden), actions), log_prob)


def test_no_likelihood_for_other_spaces():
    with pytest.raises(NotImplementedError, match="not supported"):
        make_action_head(HIDDEN_DIM, spaces.Text(3))
