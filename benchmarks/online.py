"""
Learn online, from scratch: one algorithm, one environment, one seed, and one row of a CSV file.

    python -m benchmarks.online --algo gac --env Pendulum-v1 --steps 60000 --seed 10
    python -m benchmarks.online --algo gac ppo ars --env CartPole-v1 Acrobot-v1 --steps 50000 --seed 10 11 12 --jobs 2
    python -m benchmarks.online --algo gac --env Pendulum-v1 --steps 60000 --seed 10 --terminal-reward --control no-plan

GAC runs with its defaults, its peers with the tuned parameters of the RL Zoo. Jobs whose row exists are skipped.
"""

import argparse
import contextlib
import importlib
import importlib.util
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox, IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks import runner
from benchmarks.evaluation import CurveCallback, evaluate
from benchmarks.recipes import load_yaml, parse_zoo_value
from benchmarks.table import Row, provenance
from sb3_gac import GAC
from sb3_gac.exploration import Behaviour
from sb3_gac.scaling import scale_actions
from sb3_gac.type_aliases import Array

CONTRIB_ALGOS = ("ars", "tqc", "qrdqn")
ALGOS = ("gac", "ppo", "sac", "dqn", *CONTRIB_ALGOS)
# Sizes of the identity environments are those of SB3's own tests
IDENTITY_ENVS: dict[str, Callable[[], gym.Env[Any, Any]]] = {
    "identity-discrete": lambda: IdentityEnv(4),
    "identity-box": partial(IdentityEnvBox, eps=0.5),
    "identity-multidiscrete": partial(IdentityEnvMultiDiscrete, 4),
    "identity-multibinary": partial(IdentityEnvMultiBinary, 4),
}
UNSUPPORTED = ("env_wrapper", "vec_env_wrapper", "frame_stack", "callback", "noise_type", "replay_buffer_class")
OUT = Path(__file__).parent / "results" / "online.csv"
EVAL_SEED = 1000  # plus the seed of the training
N_EVAL_EPISODES = 20
KEY_COLUMNS = ("algo", "env", "steps", "seed", "n_envs", "rewards", "control", "overrides")
COLUMNS = (
    *KEY_COLUMNS,
    *"settings mean_return std_return min_return n_eval_episodes n_env_steps train_cpu_s ms_per_step n_parameters".split(),
    *"n_updates commit versions date command".split(),
)


class TerminalReward(gym.Wrapper[Any, Any, Any, Any]):
    """Pay the sum of an episode's rewards at its last step, and 0 before."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self.episode_return = 0.0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Withhold the reward until the episode is terminated or truncated."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.episode_return += float(reward)
        return observation, self.episode_return if terminated or truncated else 0.0, terminated, truncated, info


@dataclass(frozen=True)
class Settings:
    """
    How an algorithm is made: its arguments, training environments, arguments of VecNormalize if any, and where they are from.

    ``source`` is "zoo", "zoo:ID" for the entry of another version of the environment, or "defaults".
    """

    params: dict[str, Any]
    n_envs: int
    normalize: dict[str, Any] | None
    source: str


@dataclass(frozen=True)
class Job(runner.Job):
    """
    One training.

    :param env: Gymnasium id, or one of ``IDENTITY_ENVS``.
    :param steps: Environment steps.
    :param n_envs: Training environments; None for those of the settings.
    :param rewards: "step", or "terminal" to train on returns only.
    """

    algo: str
    env: str
    steps: int
    seed: int = 0
    n_envs: int | None = None
    rewards: str = "step"
    control: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    shown: ClassVar = ("mean_return", "std_return", "min_return", "train_cpu_s", "ms_per_step")

    @property
    def place(self) -> str:
        """Its environment and rewards."""
        return f"{self.env}, {self.rewards} rewards"

    def resolve(self) -> Settings:
        """Its settings, overrides included."""
        source, params = ("defaults", {}) if self.algo == "gac" else zoo_params(self.algo, self.env)
        policy = "MlpLatentPolicy" if self.algo == "gac" else "MlpPolicy"
        params = {"policy": policy, **params}
        if self.algo == "gac" and self.rewards == "terminal":
            params["return_only"] = True
        params = self.changed(params)
        zoo_n_envs, normalize = params.pop("n_envs", 1), params.pop("normalize", False)
        # ARS counts the steps of several environments wrongly; the zoo gives it one
        n_envs = 1 if self.algo == "ars" else self.n_envs or zoo_n_envs
        if not normalize:
            return Settings(params, n_envs, None, source)
        gamma = {"gamma": params["gamma"]} if "gamma" in params else {}
        return Settings(params, n_envs, {**(normalize if isinstance(normalize, dict) else {}), **gamma}, source)

    def key(self) -> Row:
        """The columns that tell its row from others."""
        values = vars(self) | {"n_envs": self.resolve().n_envs, "overrides": json.dumps(self.overrides, sort_keys=True)}
        return {name: str(values[name]) for name in KEY_COLUMNS}

    def words(self) -> list[str]:
        """Its module, environment, steps, number of environments and rewards."""
        words = ["benchmarks.online", "--env", self.env, "--steps", str(self.steps)]
        words += ["--n-envs", str(self.n_envs)] if self.n_envs else []
        return [*words, *(["--terminal-reward"] if self.rewards == "terminal" else [])]


def zoo_params(algo: str, env: str) -> tuple[str, dict[str, Any]]:
    """
    Source and values of the parameters that the installed RL Zoo has tuned for an environment.

    Where the version of the environment has no entry, that of the latest version which has one is taken; without one, none.

    :raises ImportError: when the RL Zoo is missing.
    :raises ValueError: when the entry needs what is not supported here.
    """
    spec = importlib.util.find_spec("rl_zoo3")  # importing it would patch Gymnasium
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the peers' parameters need rl_zoo3: pip install 'sb3_gac[zoo]'")
    path = Path(spec.submodule_search_locations[0], "hyperparams", f"{algo}.yml")
    entries = load_yaml(path)
    versions = [name for name in entries if "-v" in env and name.rpartition("-v")[0] == env.rpartition("-v")[0]]
    if not versions:
        return "defaults", {}
    entry = env if env in entries else max(versions, key=lambda name: int(name.rpartition("-v")[2]))
    params = {name: parse_zoo_value(name, value) for name, value in entries[entry].items() if name != "n_timesteps"}
    unsupported = [name for name in UNSUPPORTED if name in params]
    if unsupported:
        raise ValueError(f"the zoo's entry {entry} of {algo} needs {', '.join(unsupported)}")
    return "zoo" if entry == env else f"zoo:{entry}", params


class IndependentActions(GAC):
    """GAC whose first actions are random and independent of each other, as SAC's."""

    def _act(self, behaviour: Behaviour, envs: Array) -> Array:
        if behaviour != Behaviour.RANDOM:
            return super()._act(behaviour, envs)
        actions = np.stack([self.action_space.sample() for _ in envs])
        return scale_actions(self.action_space, actions)


def make_env(job: Job, n_envs: int, seed: int, is_training: bool) -> VecEnv:
    """Environments behind Monitors, which see the true rewards; what is trained in sees those of the job."""
    wrapper = TerminalReward if is_training and job.rewards == "terminal" else None
    return make_vec_env(IDENTITY_ENVS.get(job.env, job.env), n_envs, seed=seed, wrapper_class=wrapper)


def make_model(job: Job, settings: Settings) -> BaseAlgorithm:
    """The untrained model in its environments."""
    env = make_env(job, settings.n_envs, job.seed, is_training=True)
    if settings.normalize is not None:
        env = VecNormalize(env, **settings.normalize)
    algorithm: type[BaseAlgorithm] = IndependentActions if job.control == "independent-actions" else GAC
    if job.algo != "gac":
        module = importlib.import_module("sb3_contrib" if job.algo in CONTRIB_ALGOS else "stable_baselines3")
        algorithm = getattr(module, job.algo.upper())
    return algorithm(env=env, seed=job.seed, device="cpu", **settings.params)


def evaluate_job(model: BaseAlgorithm, job: Job, n_episodes: int) -> Array:
    """True returns of the deterministic policy in a fresh environment; the training's random numbers are left alone."""
    seed = EVAL_SEED + job.seed
    with contextlib.closing(make_env(job, 1, seed, is_training=False)) as env:
        return evaluate(model, env, n_episodes, seed)


def run_job(job: Job, eval_freq: int = 0, curves: Path | None = None, options: Sequence[str] = ()) -> dict[str, Any]:
    """Train and evaluate, and return the row of the result; ``options`` are those of :meth:`Job.command`, for the record."""
    th.set_num_threads(1)
    settings = job.resolve()
    made_by = provenance()
    model = make_model(job, settings)
    callback = CurveCallback(job.name, partial(evaluate_job, model, job), eval_freq, curves, job.key())
    model.learn(job.steps, callback=callback)
    train_cpu_s = callback.cpu_seconds()
    returns = evaluate_job(model, job, N_EVAL_EPISODES)
    assert model.env is not None
    model.env.close()
    parameters = [*model.policy.parameters(), *(model.credit.parameters() if isinstance(model, GAC) else ())]
    return {
        **job.key(),
        "settings": settings.source,
        "mean_return": float(np.mean(returns)),
        "std_return": float(np.std(returns)),
        "min_return": float(np.min(returns)),
        "n_eval_episodes": len(returns),
        "n_env_steps": model.num_timesteps,
        "train_cpu_s": round(train_cpu_s, 3),
        "ms_per_step": round(1000 * train_cpu_s / model.num_timesteps, 4),
        "n_parameters": sum(map(th.numel, parameters)),
        # As the algorithm counts: PPO its epochs, ARS its updates, the others gradient steps
        "n_updates": getattr(model, "_n_updates", 0),
        **made_by,
        "command": job.record(options),
    }


def make_jobs(given: argparse.Namespace) -> list[Job]:
    """The jobs of a command, seed by seed, so that a grid that is stopped has something of everything."""
    controls, overrides = runner.parse_changes(given)
    rewards = "terminal" if given.terminal_reward else "step"
    return [
        Job(algo, env, given.steps, seed, given.n_envs, rewards, control, overrides)
        for seed, env, algo, control in itertools.product(given.seed, given.env, given.algo, controls)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser("benchmarks.online", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--env", nargs="+", required=True, help=f"Gymnasium ids, or {', '.join(IDENTITY_ENVS)}")
    parser.add_argument("--steps", type=int, required=True, help="environment steps of a training")
    parser.add_argument("--n-envs", type=int, help="training environments (default: the zoo's, 1 for gac; always 1 for ars)")
    parser.add_argument("--terminal-reward", action="store_true", help="pay an episode's return at its last step in training")
    runner.add_job_options(parser, ALGOS, OUT)

    def run(job: Job, given: argparse.Namespace, options: list[str]) -> dict[str, Any]:
        return run_job(job, given.eval_freq, given.curves, options)

    runner.run_command(parser, arguments, COLUMNS, make_jobs, run)


if __name__ == "__main__":
    main()
