from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac.plots import roll_out


class Plane(gym.Env[Any, Any]):
    """A point that the actions move; an episode ends after some steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, length: int = 4) -> None:
        self.length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_steps, self.position = 0, self.np_random.normal(size=2)
        return np.append(self.position, 9.0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        self.position = self.position + action
        return np.append(self.position, 9.0), 2.0, self.n_steps == self.length, False, {}


@pytest.mark.parametrize("kind", ["prior", "exploit", "explore"])
def test_a_rollout_is_the_path_of_an_episode(kind: Any, small_gac: Any) -> None:
    envs = [Plane(4), Plane(2)]
    short, long = roll_out(small_gac(envs[0]), envs, n_steps=9, kind=kind, seed=3)
    assert (len(long), long.total_return) == (4, 8.0)
    assert (len(short), short.total_return) == (2, 4.0)
    np.testing.assert_array_equal(long.observations[0], Plane().reset(seed=3)[0])
    (cut,) = roll_out(small_gac(envs[0]), envs[:1], n_steps=3, kind=kind, seed=3)
    assert (len(cut), cut.truncated) == (3, True)


def test_several_plans_are_followed_from_the_same_start(small_gac: Any) -> None:
    envs = [Plane(), Plane()]
    rollouts = roll_out(small_gac(envs[0]), envs, 4, "prior", n_plans=2)
    starts, ends = ([rollout.observations[index, :2] for rollout in rollouts] for index in (0, -1))
    np.testing.assert_array_equal(starts[:2], starts[2:])
    assert (np.array(ends[:2]) != ends[2:]).all()


@pytest.mark.parametrize(("plan_horizon", "ages"), [(None, [0, 1, 2, 3, 4]), (3, [0, 1, 2, 0, 1])])
def test_a_sampled_plan_is_followed_for_its_horizon(
    small_gac: Any, monkeypatch: pytest.MonkeyPatch, plan_horizon: int | None, ages: list[int]
) -> None:
    env = Plane(5)
    model = small_gac(env, policy_kwargs=dict(plan_horizon=plan_horizon, replan_freq=2))
    followed, act, aged, see = [], model.policy.model.act, [], model.policy.decoder_features
    monkeypatch.setattr(
        model.policy.model, "act", lambda seen, plans, *args: (followed.append(plans), act(seen, plans, *args))[1]
    )
    monkeypatch.setattr(model.policy, "decoder_features", lambda *args: (aged.append(args[1].item()), see(*args))[1])
    for name in ("exploit", "explore"):
        monkeypatch.setattr(model.policy.planner, name, None)  # nothing is searched for
    roll_out(model, [env], 5, "prior")
    assert aged == ages
    is_renewed = [bool((plans != last).any()) for plans, last in pairwise([followed[0], *followed])]
    assert is_renewed == [age == 0 and step > 0 for step, age in enumerate(ages)]
