"""
Learn for a little while and draw what has been learnt: all figures of sb3_gac.plots, and the same for TensorBoard.

    pip install ".[plots]" tensorboard
    python examples/draw_plots.py
    tensorboard --logdir runs/plots-example

The pendulum, and where Gymnasium-Robotics is installed (the extra envs) a maze, for less than a minute: too short to learn
much. Everything is left in runs/plots-example.
"""

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure

from sb3_gac import GAC
from sb3_gac.data import rollout_trajectories
from sb3_gac.plots import (
    Maze,
    PlotCallback,
    draw_plan_map,
    evaluate_target_returns,
    plot_curves,
    plot_elbo,
    plot_maze,
    plot_target_returns,
    roll_out,
    save_figure,
)


def learn_pendulum(folder: Path, seed: int, gradient_steps: int, timesteps: int) -> GAC:
    """Learn offline, then online, with figures in TensorBoard and evaluations for a learning curve."""
    env = make_vec_env("Pendulum-v1", n_envs=5, seed=seed)
    model = GAC(
        "MlpLatentPolicy",
        env,
        policy_kwargs={"net_arch": [64, 64]},
        train_freq=200,
        gradient_steps=50,
        seed=seed,
        device="cpu",
    )
    formats = ["csv"] if importlib.util.find_spec("tensorboard") is None else ["csv", "tensorboard"]
    model.set_logger(configure(str(folder), formats))
    target_env = make_vec_env("Pendulum-v1", n_envs=5, seed=seed)
    figures = {
        "plan_map": draw_plan_map,
        "target_return": lambda model: plot_target_returns(evaluate_target_returns(model, target_env)),
        "elbo": lambda model: plot_elbo(folder),
    }
    data = rollout_trajectories(model, env, n_episodes=25, deterministic=False)
    callback = PlotCallback(gradient_steps, figures)
    model.learn_offline(data, gradient_steps, callback=callback, log_interval=max(gradient_steps // 20, 1))
    eval_env = make_vec_env("Pendulum-v1", n_envs=5, seed=100)
    model.learn(timesteps, callback=EvalCallback(eval_env, eval_freq=200, n_eval_episodes=5, log_path=str(folder), verbose=0))
    return model


def draw_maze(folder: Path, gradient_steps: int) -> None:
    """Follow plans in a maze, learnt from a model that has not learnt."""
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    env = gym.make("PointMaze_UMaze-v3", max_episode_steps=150)
    kwargs = {"policy_kwargs": {"net_arch": [64, 64]}, "seed": 0, "device": "cpu"}
    data = rollout_trajectories(GAC("MultiInputLatentPolicy", env, **kwargs), env, n_episodes=20, deterministic=False)
    model = GAC("MultiInputLatentPolicy", env, **kwargs).learn_offline(data, gradient_steps)
    envs = [gym.make("PointMaze_UMaze-v3", max_episode_steps=150) for _ in range(5)]
    panels = {
        "sampled from the prior": roll_out(model, envs, 150, "prior", n_plans=3),
        "exploited": roll_out(model, envs, 150, "exploit"),
    }
    maze = replace(Maze.of(envs[0]), goal=None)  # every episode has a goal of its own
    save_figure(plot_maze(maze, panels, "PointMaze_UMaze-v3"), folder / "maze.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gradient-steps", type=int, default=200, help="offline gradient steps of each run (default: 200)")
    parser.add_argument("--timesteps", type=int, default=3_000, help="environment steps of each run (default: 3000)")
    parser.add_argument("--runs", type=int, default=2, help="runs with different seeds (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "plots-example")
    options = parser.parse_args()

    folders = [options.output / f"seed_{seed}" for seed in range(options.runs)]
    for seed, folder in enumerate(folders):
        model = learn_pendulum(folder, seed, options.gradient_steps, options.timesteps)
    save_figure(draw_plan_map(model), options.output / "plan_map.png")
    env = make_vec_env("Pendulum-v1", n_envs=5)
    result = evaluate_target_returns(model, env, n_episodes=5)
    save_figure(plot_target_returns(result, "Pendulum-v1"), options.output / "target_return.png")
    save_figure(plot_elbo(folders[-1], f"Pendulum-v1, {folders[-1].name}"), options.output / "elbo.png")
    save_figure(plot_curves({"GAC": folders}, "Pendulum-v1"), options.output / "learning_curves.png")
    if importlib.util.find_spec("gymnasium_robotics") is None:
        print("no maze is drawn: that takes Gymnasium-Robotics, of the extra envs")
    else:
        draw_maze(options.output, options.gradient_steps)
    print("figures are in", options.output)


if __name__ == "__main__":
    main()
