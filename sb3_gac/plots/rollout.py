"""Where plans lead in the plane."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import torch as th

from sb3_gac.gac import GAC
from sb3_gac.random_state import fork_random_state
from sb3_gac.type_aliases import PlanState

Kind: TypeAlias = Literal["prior", "exploit", "explore"]
PositionOf: TypeAlias = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Rollout:
    """
    Where a plan leads.

    :param positions: x and y, of shape ``(n_steps + 1, 2)``.
    :param total_return: Return of the episode in env units.
    """

    positions: np.ndarray
    total_return: float


def position_of(observation: Any) -> np.ndarray:
    """
    Position in the plane: the achieved goal where there is one, else the first two numbers of the observation.

    :param observation: An observation of one environment.
    """
    if isinstance(observation, dict):
        if "achieved_goal" not in observation:
            raise ValueError(f"no achieved_goal among the observations {', '.join(observation)}: give position_of")
        observation = observation["achieved_goal"]
    return np.array(observation, dtype=np.float64)[:2]


def roll_out(
    model: GAC,
    envs: Sequence[gym.Env[Any, Any]],
    n_steps: int,
    kind: Kind,
    seed: int = 0,
    n_plans: int = 1,
    position_of: PositionOf = position_of,
) -> list[Rollout]:
    """
    Follow plans in each environment, each for an episode from the same start; a rollout ends where its episode does.

    :param model: The model.
    :param envs: Copies of the environment.
    :param n_steps: Most steps of an episode.
    :param kind: ``"prior"`` keeps a plan sampled from the prior, ``"exploit"`` and ``"explore"`` act as ``predict`` does.
    :param seed: Seed of the starts and of the samples: the same one gives the same starts. The random numbers of learning
        are left alone.
    :param n_plans: Plans followed one after the other in each environment.
    :param position_of: Position in the plane of an observation.
    """
    with fork_random_state(seed, model.device):
        return [rollout for _ in range(n_plans) for rollout in _follow(model, envs, n_steps, kind, seed, position_of)]


def _follow(
    model: GAC, envs: Sequence[gym.Env[Any, Any]], n_steps: int, kind: Kind, seed: int, position_of: PositionOf
) -> list[Rollout]:
    last = [env.reset(seed=seed + index)[0] for index, env in enumerate(envs)]
    paths, returns = [[position_of(observation)] for observation in last], np.zeros(len(envs))
    is_over = np.zeros(len(envs), dtype=bool)
    state: Any = None
    if kind == "prior":
        state = PlanState(_sample_prior(model, _stack(model, last)), np.zeros(len(envs), dtype=np.int64))
    # Where a return is asked for, plans are followed to the end; whatever it is, none is made for it
    target_return = 0.0 if kind == "prior" else None
    for _ in range(n_steps):
        actions, state = model.policy.predict(
            _stack(model, last), state, deterministic=kind != "explore", target_return=target_return
        )
        for index in np.flatnonzero(~is_over).tolist():
            last[index], reward, terminated, truncated, _ = envs[index].step(actions[index])
            paths[index].append(position_of(last[index]))
            returns[index] += float(reward)
            is_over[index] = terminated or truncated
        if is_over.all():
            break
    return [Rollout(np.stack(path), float(total)) for path, total in zip(paths, returns, strict=True)]


def _stack(model: GAC, observations: Sequence[Any]) -> Any:
    """One batch of observations as the model sees them."""
    if isinstance(observations[0], dict):
        batch: Any = {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    else:
        batch = np.stack(observations)
    normalizer = model.get_vec_normalize_env()
    return batch if normalizer is None else normalizer.normalize_obs(batch)


def _sample_prior(model: GAC, observations: Any) -> np.ndarray:
    actor = model.policy.actor
    with th.no_grad():
        features = actor.extract_features(actor.obs_to_tensor(observations)[0], at_start=True)
        prior = actor.model.plan_prior(features)
        plans: np.ndarray = prior.at(th.randn_like(prior.mean)).cpu().numpy()
    return plans
