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
    long, short = roll_out(small_gac(envs[0]), envs, n_steps=9, kind=kind, seed=3)
    assert long.positions.shape == (5, 2) and long.total_return == 8.0
    assert short.positions.shape == (3, 2) and short.total_return == 4.0
    np.testing.assert_array_equal(long.positions[0], Plane().reset(seed=3)[0][:2])
    np.testing.assert_array_equal(long.positions[-1], envs[0].position)


def test_several_plans_are_followed_from_the_same_start(small_gac: Any) -> None:
    envs = [Plane(), Plane()]
    rollouts = roll_out(small_gac(envs[0]), envs, 4, "prior", n_plans=2)
    starts, ends = ([rollout.positions[index] for rollout in rollouts] for index in (0, -1))
    np.testing.assert_array_equal(starts[:2], starts[2:])
    assert (np.array(ends[:2]) != ends[2:]).all()


def test_a_sampled_plan_is_followed_to_the_end(small_gac: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = Plane(5)
    model = small_gac(env, policy_kwargs=dict(replan_freq=2))
    followed, act = [], model.actor.forward
    monkeypatch.setattr(
        model.actor,
        "forward",
        lambda obs, plans, ages, *args: (followed.append((plans, ages)), act(obs, plans, ages, *args))[1],
    )
    roll_out(model, [env], 5, "prior")
    assert [ages.tolist() for _, ages in followed] == [[0], [1], [2], [3], [4]]
    assert all((plans == followed[0][0]).all() for plans, _ in followed)


def test_the_position_is_the_achieved_goal_or_what_one_says(small_gac: Any) -> None:
    class Goal(Plane):
        observation_space: Any = spaces.Dict({"achieved_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64)})

        def reset(self, **kwargs: Any) -> Any:
            return {"achieved_goal": super().reset(**kwargs)[0][:2]}, {}

        def step(self, action: Any) -> Any:
            observation, *rest = super().step(action)
            return {"achieved_goal": observation[:2]}, *rest

    env = Goal()
    (rollout,) = roll_out(small_gac(env, "MultiInputLatentPolicy"), [env], 4, "exploit")
    np.testing.assert_array_equal(rollout.positions[-1], env.position)
    plane = Plane()
    (rollout,) = roll_out(small_gac(plane), [plane], 4, "exploit", position_of=lambda observation: observation[1:])
    np.testing.assert_array_equal(rollout.positions[:, 1], np.full(5, 9.0))
