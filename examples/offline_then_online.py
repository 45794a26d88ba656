"""
Learn from a data set, then go on learning in the environment with the same model.

    pip install .
    python examples/offline_then_online.py

The pendulum, for less than a minute: too short to learn much. The model is left in runs/offline-online-example.
"""

import argparse
from pathlib import Path

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_gac import GAC
from sb3_gac.data import rollout_trajectories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="Minari id, folder of a Minari data set or D4RL file (default: random episodes)")
    parser.add_argument("--gradient-steps", type=int, default=500, help="offline gradient steps (default: 500)")
    parser.add_argument("--timesteps", type=int, default=6_000, help="environment steps online (default: 6000)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "offline-online-example")
    options = parser.parse_args()

    env = make_vec_env("Pendulum-v1", n_envs=5, seed=0)
    data = options.data
    if data is None:  # whatever has been recorded will do; here it is an untrained policy
        player = GAC("MlpLatentPolicy", env, seed=0, device="cpu")
        data = rollout_trajectories(player, env, n_episodes=50, deterministic=False)

    model = GAC(
        "MlpLatentPolicy",
        env,
        policy_kwargs={"net_arch": [64, 64]},
        train_freq=200,  # 1000 steps of the five environments
        gradient_steps=-10,  # one for ten of them
        offline_ratio=0.1,  # what is already known counts less than what is found out
        target_kl=3.0,
        seed=0,
        device="cpu",
    )
    eval_env = make_vec_env("Pendulum-v1", n_envs=10)

    def tell(when: str) -> None:
        eval_env.seed(1)  # the same starts each time
        mean, std = evaluate_policy(model, eval_env, n_eval_episodes=10, warn=False)
        print(f"{when}: return {mean:.0f} ± {std:.0f} in 10 episodes")

    tell("before learning")
    model.learn_offline(data, options.gradient_steps)
    tell(f"after {options.gradient_steps} gradient steps offline")
    model.learn(options.timesteps)  # the data set stays: each batch has some of it
    tell(f"after {options.timesteps} environment steps online")

    options.output.mkdir(parents=True, exist_ok=True)
    model.save(options.output / "model")
    model.save_replay_buffer(options.output / "replay_buffer")  # to go on another day
    print("the model is", options.output / "model.zip")


if __name__ == "__main__":
    main()
