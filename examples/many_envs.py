"""
Learn in many environments at once, each in a process of its own: one batched inference makes all their plans.

    pip install .
    python examples/many_envs.py --n-envs 16

A plan made together with others costs less than one made alone; the time of both is measured at the end.
"""

import argparse
import time

import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_gac import GAC


def seconds_per_plan(model: GAC, observations: np.ndarray, n_repeats: int = 50) -> float:
    """Seconds that one call takes which makes a plan for each observation."""
    model.predict(observations, deterministic=True)
    start = time.perf_counter()
    for _ in range(n_repeats):
        model.predict(observations, deterministic=True)  # without state every call plans
    return (time.perf_counter() - start) / n_repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-envs", type=int, default=16, help="environments, each in a process (default: 16)")
    parser.add_argument("--timesteps", type=int, default=9_600, help="steps of all environments together (default: 9600)")
    options = parser.parse_args()

    env = make_vec_env("Pendulum-v1", options.n_envs, seed=0, vec_env_cls=SubprocVecEnv)
    model = GAC(
        "MlpLatentPolicy",
        env,
        policy_kwargs={"net_arch": [64, 64]},
        learning_starts=200 * options.n_envs,  # an episode in each of them
        train_freq=200,  # steps of each environment: an episode of all
        gradient_steps=100,
        seed=0,
        device="cpu",
    )
    start = time.perf_counter()
    model.learn(options.timesteps)
    seconds = time.perf_counter() - start
    print(f"{model.num_timesteps} steps of {options.n_envs} environments in {seconds:.1f} s, learning included")

    observations = env.reset()
    assert isinstance(observations, np.ndarray)
    for n in sorted({1, options.n_envs}):
        milliseconds = 1000 * seconds_per_plan(model, observations[:n])
        print(f"a call that plans for {n}: {milliseconds:.1f} ms, {milliseconds / n:.1f} ms for each")
    env.close()


if __name__ == "__main__":  # the processes import this file
    main()
