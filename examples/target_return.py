"""
Condition a model on one target return after the other, and see what episodes return.

    pip install ".[plots]"
    python examples/target_return.py

CartPole, from episodes of controllers that are more and less careful, for less than a minute. The figure is left in
runs/target-return-example.
"""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env

from sb3_gac import GAC
from sb3_gac.data import Trajectory, rollout_trajectories
from sb3_gac.plots import evaluate_target_returns, plot_target_returns, save_figure


class Controller:
    """
    Push the cart to where the pole falls, now and then to the other side.

    :param carelessness: share of the pushes that are made without looking.
    """

    def __init__(self, carelessness: float) -> None:
        self.carelessness = carelessness

    def predict(self, observation: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        x, velocity, angle, angular_velocity = observation.T
        pushes = (angle + 0.5 * angular_velocity + 0.02 * x + 0.1 * velocity > 0).astype(np.int64)
        is_careless = np.random.rand(len(pushes)) < self.carelessness
        return np.where(is_careless, np.random.randint(2, size=len(pushes)), pushes), None


def play(env: gym.Env[Any, Any], n_episodes: int) -> list[Trajectory]:
    """Episodes of controllers from the careful to the careless."""
    levels = np.linspace(0.0, 1.0, n_episodes)
    return [trajectory for level in levels for trajectory in rollout_trajectories(Controller(level), env, n_episodes=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200, help="episodes of the data set (default: 200)")
    parser.add_argument("--gradient-steps", type=int, default=1_500, help="gradient steps of learning (default: 1500)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "target-return-example")
    options = parser.parse_args()

    np.random.seed(0)
    env = gym.make("CartPole-v1")
    data = play(env, options.episodes)
    returns = [trajectory.total_return for trajectory in data]
    print(f"{len(data)} episodes that return {min(returns):.0f} to {max(returns):.0f}")

    # All of the data counts alike: low returns shall be known as well as high ones
    model = GAC("MlpLatentPolicy", env, policy_kwargs={"net_arch": [64, 64]}, advantage_temperature=None, seed=0, device="cpu")
    model.learn_offline(data, options.gradient_steps)

    # Not deterministic: the actions are sampled too, for a careless controller's most likely push is a careful one's
    envs = make_vec_env("CartPole-v1", 10)
    result = evaluate_target_returns(model, envs, [50, 100, 200, 300, 400, 500], n_episodes=10, deterministic=False)
    for target, returns in zip(result.targets, result.returns, strict=True):
        print(f"target {target:.0f}: {np.mean(returns):.0f} on average, {np.min(returns):.0f} to {np.max(returns):.0f}")
    figure = plot_target_returns(result, "CartPole-v1: target returns")
    print("see", save_figure(figure, options.output / "target_return.png"))


if __name__ == "__main__":
    main()
