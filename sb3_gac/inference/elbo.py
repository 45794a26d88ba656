"""Policy evaluation: the evidence lower bound of trajectories and their returns."""

import torch as th

from sb3_gac.networks import TrajectoryModel
from sb3_gac.type_aliases import ElboTerms, PlanGaussian


def elbo(
    model: TrajectoryModel,
    posterior: PlanGaussian,
    features: th.Tensor,
    actions: th.Tensor,
    first_features: th.Tensor,
    returns: th.Tensor,
    advantages: th.Tensor,
    weights: th.Tensor,
) -> ElboTerms:
    """
    Terms of the evidence lower bound on log p(τ, y), with one plan sampled per trajectory (arXiv 2512.21527).

    :param model: The generative model.
    :param posterior: q(z | trajectory), inferred from other steps than the ones scored here.
    :param features: Features of the steps to score, of shape ``(batch_size, n_steps, features_dim)``.
    :param actions: Buffer actions of these steps, of shape ``(batch_size, n_steps, action_dim)``.
    :param first_features: Features of the first observations, of shape ``(batch_size, features_dim)``.
    :param returns: Returns in env units, of shape ``(batch_size,)``.
    :param advantages: Standardised advantages of the segments, of shape ``(batch_size,)``; not used without their predictor.
    :param weights: What the likelihood of each action counts, of shape ``(batch_size, n_steps)``.
    """
    plans = posterior.at(th.randn_like(posterior.mean))
    return_log_prob = model.return_predictor.log_prob(returns, plans, first_features)
    advantage_log_prob = th.zeros_like(return_log_prob)
    if model.advantage_predictor is not None:
        advantage_log_prob = model.advantage_predictor.log_prob(advantages, plans, first_features)
    return ElboTerms(
        action_log_prob=(weights * model.action_log_prob(features, actions, plans)).mean(dim=1),
        return_log_prob=return_log_prob,
        advantage_log_prob=advantage_log_prob,
        kl=model.plan_prior(first_features).kl_of(posterior, plans),
    )
