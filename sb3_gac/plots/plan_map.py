"""The map of plans: those behind known trajectories, and those that the model would choose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th

from sb3_gac.gac import GAC
from sb3_gac.plots.figure import EMBER, add_legend, color_by_return, make_figure, tidy
from sb3_gac.random_state import fork_random_state
from sb3_gac.type_aliases import PlanGaussian, TensorObs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlanMap:
    """
    Plans in the plane in which those behind the trajectories spread most.

    :param plans: Posterior means of trajectories, of shape ``(n_trajectories, 2)``.
    :param returns: Returns of these trajectories in env units, of shape ``(n_trajectories,)``.
    :param exploited: Plans that exploit from some of the same starts, of shape ``(n_starts, 2)``.
    :param explored: Plans that explore from the same starts, of shape ``(n_starts, 2)``.
    :param explained: Share of the variance of the posterior means along each axis, of shape ``(2,)``.
    :param target_return: Return that exploring aims at, in env units.
    """

    plans: np.ndarray
    returns: np.ndarray
    exploited: np.ndarray
    explored: np.ndarray
    explained: np.ndarray
    target_return: float


def infer_plan_map(
    model: GAC, n_trajectories: int = 512, n_starts: int = 64, seed: int = 0, use_noise: bool = False
) -> PlanMap:
    """
    Infer the plans behind trajectories that the model has, and those it would choose where they start.

    :param model: A model with a data set or a replay buffer.
    :param n_trajectories: Trajectories, drawn with replacement, equally many from the data set and the replay buffer.
    :param n_starts: Starts among theirs to choose plans for.
    :param seed: Seed of all draws; the random numbers of learning are left alone.
    :param use_noise: Whether to map the noise ε of each plan, z = μ(o₁) + σ(o₁) ε, instead of the plan z. What the start
        makes of a plan is taken out then, so that plans of different starts can be compared.
    :raises ValueError: when the model has no trajectories.
    """
    if not 1 <= n_starts <= n_trajectories:
        raise ValueError(f"n_starts must be in [1, n_trajectories], got {n_starts} of {n_trajectories}")
    buffers = model._buffers()
    if not buffers:
        raise ValueError("this model has no trajectories: give it a data set with set_offline_data(), or let it learn online")
    model.policy.set_training_mode(False)
    means: list[np.ndarray] = []
    returns: list[np.ndarray] = []
    exploited: list[np.ndarray] = []
    explored: list[np.ndarray] = []
    with fork_random_state(seed, model.device), th.no_grad():
        for index, buffer in enumerate(buffers):
            n_left, n_starts_left = ((n + index) // len(buffers) for n in (n_trajectories, n_starts))
            while n_left > 0:  # as many at once as a gradient step takes
                n = min(n_left, model.batch_size)
                batch = buffer.sample(n, 2 * model.n_sampled_steps, model._vec_normalize_env, model.policy.plan_horizon)
                mean = model.infer_plans(batch)
                means.append(_coordinates(model, mean, batch.first_observations, use_noise))
                returns.append(batch.returns.cpu().numpy())
                n_left -= n
                if n_starts_left > 0:
                    starts = batch.take(th.arange(min(n_starts_left, n), device=model.device)).first_observations
                    for plans, is_exploiting in ((exploited, True), (explored, False)):
                        plans.append(_coordinates(model, model.policy.plan(starts, is_exploiting), starts, use_noise))
                    n_starts_left -= len(exploited[-1])
    known, all_returns = np.concatenate(means), np.concatenate(returns)
    origin, axes, explained = _principal_axes(known, all_returns)
    return PlanMap(
        plans=(known - origin) @ axes,
        returns=all_returns,
        exploited=(np.concatenate(exploited) - origin) @ axes,
        explored=(np.concatenate(explored) - origin) @ axes,
        explained=explained,
        target_return=float(model.policy.planner.target_return),
    )


def plot_plan_map(plan_map: PlanMap, title: str = "") -> "Figure":
    """
    Draw a map of plans, coloured by the return of the trajectories behind them.

    :param plan_map: The map.
    :param title: Title of the figure.
    :raises ImportError: when Matplotlib is missing.
    """
    figure = make_figure(width=7.4, height=5.2, title=title)
    axes = figure.subplots()
    colors: Any = color_by_return(float(plan_map.returns.min()), float(plan_map.returns.max()))
    order = np.argsort(plan_map.returns)  # the best ones on top
    x, y = plan_map.plans[order].T
    axes.scatter(
        x,
        y,
        c=plan_map.returns[order],
        cmap=colors.get_cmap(),
        norm=colors.norm,
        s=22,
        alpha=0.75,
        linewidths=0,
        label=f"behind {len(plan_map.plans)} trajectories",
    )
    outlined: Any = {"edgecolor": "black", "zorder": 3}
    label = f"explored, given a return of {plan_map.target_return:.4g}"
    x, y = plan_map.explored.T
    axes.scatter(x, y, s=34, marker="D", facecolor="white", linewidths=0.9, alpha=0.9, label=label, **outlined)
    label = "exploited: largest predicted return"
    x, y = plan_map.exploited.T
    axes.scatter(x, y, s=110, marker="*", facecolor=EMBER, linewidths=0.6, label=label, **outlined)
    shares = [f"{'under 1' if share < 0.01 else round(100 * share)} % of the variance" for share in plan_map.explained]
    tidy(axes, f"first principal axis of the plans ({shares[0]})", f"second ({shares[1]})")
    figure.colorbar(colors, ax=axes, label="return of the trajectory", fraction=0.05, pad=0.02)
    add_legend(figure)
    return figure


def _coordinates(model: GAC, plans: th.Tensor, starts: TensorObs, use_noise: bool) -> np.ndarray:
    """Plans, or the noise that makes them from the prior of their starts."""
    if use_noise:
        prior = model.policy.model.plan_prior(model.policy.extract_features(starts))
        if not isinstance(prior, PlanGaussian):
            raise ValueError("only plans of a Gaussian prior can be shown as its noise")
        plans = (plans - prior.mean) * (-prior.log_std).exp()
    coordinates: np.ndarray = plans.cpu().numpy()
    return coordinates


def _principal_axes(plans: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, two axes as columns along which the return does not fall, and the share of variance of each."""
    origin = plans.mean(axis=0)
    _, scales, rows = np.linalg.svd(plans - origin, full_matrices=False)
    axes: Any = np.zeros((plans.shape[1], 2), dtype=plans.dtype)  # the second is empty for plans of one number
    n = min(2, len(rows))
    axes[:, :n] = rows[:n].T
    slopes = (returns - returns.mean()) @ ((plans - origin) @ axes)
    axes *= np.where(slopes < 0, -1, 1)
    variances = np.zeros(2)
    variances[:n] = scales[:n] ** 2
    return origin, axes, variances / max(float((scales**2).sum()), np.finfo(np.float64).tiny)
