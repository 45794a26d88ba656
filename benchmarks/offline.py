"""
Learn from a data set, and go on online if told to: one algorithm, one data set, one seed, and one row of a CSV file.

    python -m benchmarks.offline --data maze2d-umaze --seed 1                      the task's own data set, made if need be
    python -m benchmarks.offline --data hopper-medium-replay=some/file.hdf5 --seed 1 2 3 --finetune --jobs 2
    python -m benchmarks.offline --data data=mujoco/hopper/medium-v0          a Minari data set, in the environment it names
    python -m benchmarks.offline --data maze2d-umaze --algo gac --control no-plan no-weights --set offline_gradient_steps=2000
    .tox/peers/bin/python -m benchmarks.offline --data maze2d-umaze --algo iql-return dt-return --set n_updates=100000

GAC learns by hyperparams/gac.yml; `bc` is one of its decoders without a plan, `bc10` that on the best trajectories; the others
are d3rlpy's (`tox -e peers`). Jobs whose row exists are skipped.
"""

import argparse
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks import runner
from benchmarks.bc import CLONING, BehaviourCloning, best_trajectories
from benchmarks.datasets import RECIPES, dataset_id, dataset_path, generate_dataset
from benchmarks.envs import Task, find_task
from benchmarks.evaluation import EVALUATION_SEED, MAX_ENVS, CurveCallback, evaluate
from benchmarks.peers import PEERS, PeerLearner
from benchmarks.recipes import change, load_recipe, load_yaml, model_arguments
from benchmarks.table import ROOT, Row, from_root, provenance
from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, load_dataset
from sb3_gac.evaluation import follow_prior
from sb3_gac.type_aliases import Array

OWN_ALGOS = {"gac": GAC, "bc": BehaviourCloning, "bc10": BehaviourCloning}
OUT = Path(__file__).parent / "results" / "offline.csv"
N_EVAL_EPISODES = 50
KEY_COLUMNS = ("algo", "task", "data", "seed", "mode", "control", "overrides")
COLUMNS = (
    *KEY_COLUMNS,
    *"information score prior_mean_score random_plan_score mean_return std_return n_updates train_cpu_s online_score".split(),
    *"online_mean_return online_std_return n_env_steps online_cpu_s n_eval_episodes n_parameters data_digest".split(),
    *"commit versions date command".split(),
)


@dataclass(frozen=True)
class Job(runner.Job):
    """
    One training.

    :param algo: "gac", "bc", "bc10", or one of ``PEERS``.
    :param data: ``TASK`` for a benchmark task and its own data set, ``TASK=PATH`` or ``ENV_ID=PATH`` for another Minari data
        set or D4RL file, ``data=ID`` for a Minari data set and the environment it names.
    :param is_finetuned: Whether learning goes on online.
    """

    algo: str
    data: str
    seed: int = 0
    is_finetuned: bool = False
    control: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    shown: ClassVar = (
        *("score", "mean_return", "train_cpu_s"),
        *("n_env_steps", "online_score", "online_mean_return", "online_cpu_s"),
    )

    @property
    def task(self) -> Task:
        """The environment and its reference scores."""
        env, _, source = self.data.partition("=")
        return find_task(env, source or None)

    @property
    def source(self) -> str:
        """Where the data set is: a Minari id or a path."""
        env, _, source = self.data.partition("=")
        if not source:
            return str(dataset_path(env))
        return str(ROOT / source) if (ROOT / source).exists() else source

    @property
    def place(self) -> str:
        """Its data set and phases."""
        return f"{self.data}, {'offline to online' if self.is_finetuned else 'offline'}"

    def resolve(self) -> dict[str, Any]:
        """The settings of one of our own algorithms, overrides included."""
        task = self.task
        params = load_recipe(task.name, task.env_id)
        return self.changed(change(params, load_yaml(CLONING)) if self.algo in ("bc", "bc10") else params)

    def key(self) -> Row:
        """The columns that tell its row from others."""
        source = Path(self.data.partition("=")[2] or dataset_id(self.data))
        # Where it lies on some machine says nothing: a Minari id has two parts
        data = source.name if source.suffix in (".hdf5", ".h5") else "/".join(source.parts[-2:])
        values = (self.algo, self.task.name, data, str(self.seed), "offline-to-online" if self.is_finetuned else "offline")
        return dict(zip(KEY_COLUMNS, (*values, self.control, json.dumps(self.overrides, sort_keys=True)), strict=True))

    def words(self) -> list[str]:
        """Its module, data and phases."""
        return ["benchmarks.offline", "--data", self.data, *(["--finetune"] if self.is_finetuned else [])]


class OwnLearner:
    """GAC or behaviour cloning with its decoder: phases to go through, and a policy to evaluate."""

    def __init__(self, job: Job, dataset: OfflineDataset, device: str) -> None:
        params = job.resolve()
        if job.algo == "bc10":
            dataset = replace(dataset, trajectories=best_trajectories(dataset.trajectories))
        env = make_vec_env(job.task.make_env, params["n_envs"], seed=job.seed)
        self.policy = self.model = OWN_ALGOS[job.algo](env=env, seed=job.seed, device=device, **model_arguments(params))
        self.information = {"bc": "none", "bc10": "return"}.get(job.algo, "return" if self.model.return_only else "step")
        self.n_parameters = sum(map(th.numel, [*self.model.policy.parameters(), *self.model.credit.parameters()]))
        self.phases = {"offline": partial(self.model.learn_offline, dataset, params["offline_gradient_steps"])}
        if job.is_finetuned:
            self.phases["online"] = partial(self.model.learn, params["n_timesteps"])

    @property
    def n_updates(self) -> int:
        """Gradient steps so far."""
        return self.model._n_updates


def run_job(
    job: Job,
    eval_freq: int = 0,
    curves: Path | None = None,
    options: Sequence[str] = (),
    save: Path | None = None,
    device: str = "cpu",
    n_eval_episodes: int = N_EVAL_EPISODES,
    tell: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """
    Train and evaluate, phase by phase, and return the row of the result.

    :param eval_freq: Steps between evaluations of the learning curve, gradient steps offline, environment steps online.
    :param options: Those of :meth:`Job.command`, for the record.
    :param save: Folder for the models, ``model_offline.zip`` and ``model_online.zip``, and for what SB3 logs.
    :param tell: See :class:`benchmarks.evaluation.CurveCallback`.
    """
    th.set_num_threads(1)
    made_by, task = provenance(), job.task
    eval_env = make_vec_env(task.make_env, min(n_eval_episodes, MAX_ENVS), seed=EVALUATION_SEED)
    assert isinstance(eval_env, DummyVecEnv)
    dataset = load_dataset(job.source, eval_env.observation_space, eval_env.action_space)
    learner: OwnLearner | PeerLearner
    if job.algo in PEERS:
        learner = PeerLearner(PEERS[job.algo], job.overrides, dataset, eval_env, task.horizon, job.seed, device)
    else:
        learner = OwnLearner(job, dataset, device)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | job.key()
    for phase, learn in learner.phases.items():
        if save is not None and isinstance(learner, OwnLearner):
            learner.model.set_logger(configure(str(save / phase), ["csv"]))
        evaluate_now = partial(evaluate, learner.policy, eval_env)
        callback = CurveCallback(job.name, evaluate_now, eval_freq, curves, {**job.key(), "phase": phase}, tell)
        learn(callback)
        cpu_seconds = callback.cpu_seconds()
        if save is not None and isinstance(learner, OwnLearner):
            learner.model.save(save / f"model_{phase}")
        returns = evaluate_now(n_eval_episodes)
        prefix = "" if phase == "offline" else "online_"
        row[f"{prefix}score"] = task.normalized_score(float(np.mean(returns)))
        row[f"{prefix}mean_return"], row[f"{prefix}std_return"] = float(np.mean(returns)), float(np.std(returns))
        row["online_cpu_s" if prefix else "train_cpu_s"] = round(cpu_seconds, 3)
        if phase == "offline" and job.algo == "gac" and isinstance(learner, OwnLearner):
            for name, is_random in (("prior_mean", False), ("random_plan", True)):
                of_prior = evaluate(follow_prior(learner.model.policy, is_random), eval_env, n_eval_episodes)
                row[f"{name}_score"] = task.normalized_score(float(np.mean(of_prior)))
        if phase == "online":
            row["n_env_steps"] = callback.num_timesteps
    eval_env.close()
    row |= {"information": learner.information, "n_updates": learner.n_updates, "n_eval_episodes": n_eval_episodes}
    row |= {"n_parameters": learner.n_parameters, "data_digest": data_digest(dataset), **made_by}
    return row | {"command": job.record(options)}


def data_digest(dataset: OfflineDataset) -> str:
    """Fingerprint of a data set: made again on another kind of processor it has the same name, and other trajectories."""
    hasher = hashlib.sha256()
    for trajectory in dataset.trajectories:
        observations = trajectory.observations
        parts: Mapping[str, Array] = observations if isinstance(observations, dict) else {"": observations}
        for array in (*(parts[key] for key in sorted(parts)), trajectory.actions, np.float32(trajectory.total_return)):
            hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:12]


def make_jobs(given: argparse.Namespace) -> list[Job]:
    """The jobs of a command, seed by seed, so that a grid that is stopped has something of everything."""
    controls, overrides = runner.parse_changes(given)
    if given.finetune and set(given.algo) != {"gac"}:
        raise ValueError("only gac is fine-tuned")
    jobs = [
        Job(algo, data, seed, given.finetune, control, overrides)
        for seed, data, algo, control in itertools.product(given.seed, map(_as_seen_by_jobs, given.data), given.algo, controls)
    ]
    if given.save and len(jobs) > 1:
        raise ValueError("--save is for a single training")
    for job in jobs:
        if job.algo not in PEERS:
            model_arguments(job.resolve())  # complains of what is not known
    for data in sorted({job.data for job in jobs} & set(RECIPES)):
        generate_dataset(data)  # here and now: two processes would make it twice
    return jobs


def _as_seen_by_jobs(data: str) -> str:
    """What stands on the command line, with a path that does not depend on the working directory."""
    env, equals, source = data.partition("=")
    if not equals and data not in RECIPES:
        raise ValueError(f"expected a task or ENV=DATA, not {data!r}; the tasks are {', '.join(RECIPES)}")
    return f"{env}={from_root(Path(source))}" if equals and Path(source).exists() else data


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser("benchmarks.offline", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="DATA", help="tasks, TASK=PATH, ENV_ID=PATH, data=MINARI_ID"
    )
    parser.add_argument("--finetune", action="store_true", help="go on learning online")
    parser.add_argument("--eval-episodes", type=int, default=N_EVAL_EPISODES, help="after each phase (default: %(default)s)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the models; of a single training only")
    runner.add_job_options(parser, [*OWN_ALGOS, *PEERS], OUT)

    def run(job: Job, given: argparse.Namespace, options: list[str]) -> dict[str, Any]:
        return run_job(job, given.eval_freq, given.curves, options, given.save, given.device, given.eval_episodes)

    runner.run_command(parser, arguments, COLUMNS, make_jobs, run)


if __name__ == "__main__":
    main()
