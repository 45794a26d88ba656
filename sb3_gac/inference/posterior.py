"""Inference of the plan behind a trajectory."""

import torch as th

from sb3_gac.networks import PlanEncoder, TrajectoryModel
from sb3_gac.type_aliases import PlanGaussian

LEARNING_RATE = 0.3  # of Adam at the first step; it falls linearly to a tenth


def fit_posterior(
    model: TrajectoryModel,
    encoder: PlanEncoder,
    features: th.Tensor,
    actions: th.Tensor,
    first_features: th.Tensor,
    effective_horizon: float,
    posterior_steps: int = 0,
    kl_coef: float = 1.0,
) -> PlanGaussian:
    """
    Gaussian posterior q(z | trajectory): the encoder's answer, improved by gradient steps on each trajectory's own bound.

    The gradient steps leave no gradient in the model. The result still depends on the encoder, with the identity as
    Jacobian of the steps, so that a loss on it teaches the encoder where the steps ended (a straight-through estimate).
    All steps count alike here, also where they are weighted to learn from: the plan is of the whole trajectory.

    :param model: The generative model.
    :param encoder: Amortised start.
    :param features: Features of sampled steps, of shape ``(batch_size, n_steps, features_dim)``.
    :param actions: Buffer actions of these steps, of shape ``(batch_size, n_steps, action_dim)``.
    :param first_features: Features of the first observations, of shape ``(batch_size, features_dim)``.
    :param effective_horizon: Number of steps that the mean action log-likelihood counts for.
    :param posterior_steps: Number of gradient steps; 0 is a plain variational auto-encoder.
    :param kl_coef: Weight of the divergence from the prior.
    """
    start: PlanGaussian = encoder(features, model.decoder.head.encode(actions))
    if posterior_steps == 0:
        return start

    features, first_features = features.detach(), first_features.detach()
    with th.enable_grad():
        fitted = PlanGaussian(
            *(part.detach().clone().requires_grad_() for part in start)
        )  # moved in place: not the start itself
        with th.no_grad():
            prior = model.plan_prior(first_features)
        optimizer = th.optim.Adam(list(fitted), lr=LEARNING_RATE)
        for step in range(posterior_steps):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - 0.9 * step / posterior_steps)
            plans = fitted.at(th.randn_like(fitted.mean))
            action_log_prob = model.action_log_prob(features, actions, plans).mean(dim=1)
            bound = effective_horizon * action_log_prob - kl_coef * prior.kl_of(fitted, plans)
            gradients = th.autograd.grad(-bound.sum(), list(fitted))  # of the plans alone: the model keeps none
            for parameter, gradient in zip(fitted, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    return PlanGaussian(*(first + (last - first).detach() for first, last in zip(start, fitted, strict=True)))
