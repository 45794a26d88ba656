"""Models whose every inference has a known answer."""

from collections.abc import Callable

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn
from torch.distributions import Normal

from sb3_gac.networks import FilmDecoder, GaussianPrior, PlanDecoder, PlanEncoder, ReturnPredictor, TrajectoryModel
from sb3_gac.networks.action_head import make_action_head

FEATURES_DIM = 2


@pytest.fixture(autouse=True)
def seed() -> None:
    th.manual_seed(0)


class LinearDecoder(PlanDecoder):
    """p(a | o, z) = N(gain * z, std²), one action dimension per plan dimension, whatever is observed."""

    def __init__(self, gain: list[float], std: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(th.tensor(gain))
        self.std = std
        self.head = make_action_head(1, spaces.Box(-1.0, 1.0, (len(gain),), np.float32))

    def action_log_prob(self, features: th.Tensor, actions: th.Tensor, plans: th.Tensor) -> th.Tensor:
        return Normal((self.gain * plans).unsqueeze(1), self.std).log_prob(actions).sum(dim=-1)

    def act(self, features: th.Tensor, plans: th.Tensor, deterministic: bool) -> th.Tensor:
        return self.gain * plans


def make_linear_model(
    slopes: list[list[float]],
    return_std: float = 1.0,
    bias: float = 0.0,
    prior_mean: float = 0.0,
    prior_std: float = 1.0,
    action_std: float = 0.5,
) -> TrajectoryModel:
    """
    z ~ N(prior_mean, prior_std²), a_t ~ N(z, action_std²), y ~ N(slopes · z + bias, return_std²): all Gaussian, all linear.

    :param slopes: one row per member of the return predictor, of shape (n_members, plan_dim)
    """
    plan_dim = len(slopes[0])
    prior = GaussianPrior(FEATURES_DIM, plan_dim, [], nn.ReLU)
    prior.net[-1].bias.data = th.cat((th.full((plan_dim,), prior_mean), th.full((plan_dim,), prior_std).log()))
    predictor = ReturnPredictor(FEATURES_DIM, plan_dim, [], nn.ReLU, n_members=len(slopes))
    predictor.head.weight.data.zero_()[:, :plan_dim, 0] = th.tensor(slopes)
    predictor.head.bias.data[..., 0] = bias
    predictor.head.bias.data[..., 1] = float(np.log(return_std))
    return TrajectoryModel(prior, LinearDecoder([1.0] * plan_dim, action_std), predictor)


@pytest.fixture
def linear_model() -> Callable[..., TrajectoryModel]:
    return make_linear_model


@pytest.fixture
def neural_model() -> TrajectoryModel:
    """A model as it is used, a little trained: what it knows is arbitrary."""
    model = TrajectoryModel(
        GaussianPrior(FEATURES_DIM, 4, [16], nn.Tanh),
        FilmDecoder(FEATURES_DIM, 4, spaces.Box(-1.0, 1.0, (3,), np.float32), [16], nn.Tanh),
        ReturnPredictor(FEATURES_DIM, 4, [16], nn.Tanh, n_members=3),
        ReturnPredictor(FEATURES_DIM, 4, [16], nn.Tanh, n_members=3),
    )
    nn.init.normal_(model.prior.net[-1].weight, std=0.2)
    model.return_predictor.set_statistics(mean=100.0, std=10.0)
    return model


@pytest.fixture(params=[[16], [256, 256]], ids=str)
def senseless_model(request) -> tuple[TrajectoryModel, PlanEncoder]:
    """A model and its encoder, all numbers uniform in [0, 1]."""
    model = TrajectoryModel(
        GaussianPrior(FEATURES_DIM, 4, request.param, nn.ReLU),
        FilmDecoder(FEATURES_DIM, 4, spaces.Box(-1.0, 1.0, (3,), np.float32), request.param, nn.ReLU),
        ReturnPredictor(FEATURES_DIM, 4, request.param, nn.ReLU, n_members=3),
    )
    encoder = PlanEncoder(FEATURES_DIM, 3, 4, request.param, nn.ReLU)
    for network in (model, encoder):
        network.load_state_dict({name: th.rand_like(part) for name, part in network.state_dict().items()})
    return model, encoder
