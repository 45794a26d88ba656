"""Exploration: plans sampled given a target return."""

import math

import torch as th

from sb3_gac.networks import ReturnPredictor, TrajectoryModel
from sb3_gac.type_aliases import PlanDistribution

STEP_SIZE = 0.05  # of the Langevin dynamics


def target_log_prob(predictor: ReturnPredictor, plans: th.Tensor, first_features: th.Tensor, target: th.Tensor) -> th.Tensor:
    """
    log p(y = target | z, o_1) under the mixture of the ensemble's members, of shape ``(batch_size,)``.

    :param predictor: Of returns, or of advantages.
    :param plans: Plans of shape ``(batch_size, plan_dim)``.
    :param first_features: Features of the observations to plan from, of shape ``(batch_size, features_dim)``.
    :param target: What is sought, in units of what is predicted, of shape ``(batch_size,)``.
    """
    means, log_stds = predictor(plans, first_features)  # (n_members, batch_size)
    errors = (predictor.standardise(target) - means) * (-log_stds).exp()
    log_probs: th.Tensor = (-0.5 * errors.square() - log_stds).logsumexp(dim=0)
    return log_probs - math.log(means.shape[0] * math.sqrt(2 * math.pi))


def explore_plan(
    model: TrajectoryModel,
    predictor: ReturnPredictor,
    first_features: th.Tensor,
    target: th.Tensor,
    n_candidates: int = 32,
    explore_steps: int = 0,
) -> th.Tensor:
    """
    One plan per environment from p(z | y = target, o_1), of shape ``(n_envs, plan_dim)``.

    Prior samples are resampled by their likelihood of the target, which finds the mode; Langevin steps on the noise
    then move the survivors off the finite set. A step that the posterior would not have taken is refused (Metropolis),
    so that any step size samples the same posterior and none diverges. Where the target is out of reach from this
    start, one standard deviation above the best expected return takes its place: plans that would explain the impossible
    are merely uncertain ones.

    :param model: The generative model.
    :param predictor: Its predictor of returns, or of advantages.
    :param first_features: Features of the observations to plan from, of shape ``(n_envs, features_dim)``.
    :param target: What each environment seeks, in units of what is predicted, of shape ``(n_envs,)``.
    :param n_candidates: Prior samples per environment; 1 is a pure Langevin chain.
    :param explore_steps: Langevin steps.
    """
    n_envs = first_features.shape[0]
    with th.no_grad():
        prior = model.plan_prior(first_features)
        noise = th.randn(n_envs, n_candidates, model.prior.noise_dim, device=first_features.device)
        plans = prior.for_many().at(noise)  # (n_envs, n_candidates, plan_dim)
        candidates, contexts = plans.flatten(0, 1), first_features.repeat_interleave(n_candidates, dim=0)
        if n_candidates > 1:
            means, log_stds = predictor(candidates, contexts)  # (n_members, n_envs * n_candidates)
            best, index = means.mean(dim=0).view(n_envs, n_candidates).max(dim=1)
            spread = log_stds.exp().mean(dim=0).view(n_envs, n_candidates).gather(1, index.unsqueeze(-1)).squeeze(-1)
            target = th.minimum(target, predictor.unstandardise(best + spread))  # (n_envs,)
        log_weights = target_log_prob(predictor, candidates, contexts, target.repeat_interleave(n_candidates))
        log_weights = log_weights.view(n_envs, n_candidates)
        # the Gumbel-max trick samples a category and never fails on weights that underflow
        gumbel = -th.log(th.empty_like(log_weights).exponential_())
        chosen = (log_weights + gumbel).argmax(dim=1)
        noise = noise[th.arange(n_envs, device=noise.device), chosen]  # (n_envs, noise_dim)
    if explore_steps > 0:
        log_density, gradient = _log_posterior(predictor, noise, prior, first_features, target)
    for _ in range(explore_steps):
        jump = th.randn_like(noise)
        proposal = noise + 0.5 * STEP_SIZE * gradient + STEP_SIZE**0.5 * jump
        proposal_log_density, proposal_gradient = _log_posterior(predictor, proposal, prior, first_features, target)
        jump_back = (noise - proposal - 0.5 * STEP_SIZE * proposal_gradient) / STEP_SIZE**0.5
        log_ratio = proposal_log_density - log_density + 0.5 * (jump.square() - jump_back.square()).sum(dim=-1)
        is_accepted = th.rand_like(log_ratio).log() < log_ratio  # (n_envs,), never where anything is NaN
        log_density = th.where(is_accepted, proposal_log_density, log_density)
        gradient = th.where(is_accepted.unsqueeze(-1), proposal_gradient, gradient)
        noise = th.where(is_accepted.unsqueeze(-1), proposal, noise)
    return prior.at(noise)


def _log_posterior(
    predictor: ReturnPredictor,
    noise: th.Tensor,
    prior: PlanDistribution,
    first_features: th.Tensor,
    target: th.Tensor,
) -> tuple[th.Tensor, th.Tensor]:
    """log p(ε | y = target, o_1) up to a constant, of shape ``(n_envs,)``, and its gradient in the noise ε."""
    with th.enable_grad():
        noise = noise.detach().requires_grad_()
        log_density = target_log_prob(predictor, prior.at(noise), first_features, target)
        log_density = log_density - 0.5 * noise.square().sum(dim=-1)
        (gradient,) = th.autograd.grad(log_density.sum(), [noise])  # the model keeps no gradient
    return log_density.detach(), gradient
