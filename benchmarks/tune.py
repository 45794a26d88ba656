"""
Search hyper-parameters of offline or offline-to-online learning with Optuna; any number of processes may share a study.

    python -m benchmarks.tune --data maze2d-umaze --n-trials 20 --set offline_gradient_steps=1500
    python -m benchmarks.tune --data maze2d-umaze --finetune --storage postgresql+psycopg://user@host/studies

Start the same command as often as there are cores, on one machine or on many: each goes on with the study until it has
--n-trials in all. The value of a trial is the normalised score after the last phase, or the mean return where nobody knows
reference scores. Optuna's median pruner stops trials that fall behind, a loss that is not finite prunes its trial. What is
given with --set is not searched. A best trial owes part of its value to chance: the command that is printed has another seed.
"""

import argparse
import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th

from benchmarks.offline import Job, run_job
from benchmarks.recipes import parse_overrides
from sb3_gac.extra import require
from sb3_gac.zoo.sampler import convert_gac_params, suggest_learning, suggest_online

if TYPE_CHECKING:
    import optuna

N_STARTUP_TRIALS = 5
# Evaluations that no trial is pruned before: the first one tells little
N_WARMUP_EVALUATIONS = 2
N_EVALUATIONS = 8


def open_study(name: str, storage: str, seed: int | None = None) -> "optuna.Study":
    """
    Open a study or make it: median pruning, and a sampler that knows of the trials that others are running.

    :param storage: A journal file that ends in ``.log``, or what Optuna takes, such as ``sqlite:///study.db``.
    :param seed: Of the sampler; None for processes that share a study.
    """
    require("tune", "optuna")
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    opened: Any = storage
    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        opened = JournalStorage(JournalFileBackend(storage))
    return optuna.create_study(
        storage=opened,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=N_STARTUP_TRIALS, n_warmup_steps=N_WARMUP_EVALUATIONS),
        sampler=optuna.samplers.TPESampler(n_startup_trials=N_STARTUP_TRIALS, constant_liar=True, seed=seed),
    )


def suggest_overrides(trial: "optuna.Trial", job: Job) -> dict[str, Any]:
    """What a trial changes of a job, whose own overrides win, by the names that ``--set`` takes; learning rates fall to 0."""
    suggested = suggest_learning(trial) | (suggest_online(trial) if job.is_finetuned else {})
    params = convert_gac_params(suggested)
    policy_kwargs = {f"policy_kwargs.{name}": value for name, value in params.pop("policy_kwargs", {}).items()}
    params["learning_rate"] = f"lin_{params['learning_rate']}"
    return {**params, **policy_kwargs, **job.overrides}


def value_of_trial(trial: "optuna.Trial", job: Job, n_eval_episodes: int) -> float:
    """Train and evaluate what a trial suggests; it is pruned when it falls behind, or its loss is not finite."""
    import optuna

    numbers = itertools.count(1)

    def tell(_: int, mean_return: float) -> None:
        trial.report(mean_return, number := next(numbers))
        if trial.should_prune():
            raise optuna.TrialPruned(f"fell behind at evaluation {number}")

    job = replace(job, overrides=suggest_overrides(trial, job))
    trial.set_user_attr("overrides", dict(job.overrides))
    params = job.resolve()
    n_steps = params["offline_gradient_steps"] + (params["n_timesteps"] if job.is_finetuned else 0)
    try:
        row = run_job(job, max(n_steps // N_EVALUATIONS, 1), n_eval_episodes=n_eval_episodes, tell=tell)
    except (ValueError, AssertionError) as error:  # what GAC raises when its loss is not finite
        raise optuna.TrialPruned(str(error)) from error
    prefix = "online_" if job.is_finetuned else ""
    score, mean_return = float(row[f"{prefix}score"]), float(row[f"{prefix}mean_return"])
    return mean_return if np.isnan(score) else score


def search(job: Job, study: "optuna.Study", n_trials: int, n_eval_episodes: int) -> None:
    """Run trials until the study has all ``n_trials``, those of other processes among them."""
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    if len(study.get_trials(deepcopy=False, states=states)) < n_trials:
        study.optimize(
            lambda trial: value_of_trial(trial, job, n_eval_episodes), callbacks=[MaxTrialsCallback(n_trials, states=states)]
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser("benchmarks.tune", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="see benchmarks.offline")
    parser.add_argument("--finetune", action="store_true", help="go on learning online")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings that are not searched")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--n-trials", type=int, default=50, help="of the study in all (default: %(default)s)")
    parser.add_argument("--eval-episodes", type=int, default=20, help="of each trial (default: %(default)s)")
    parser.add_argument("--storage", default="runs/study.log", help="a file, or a database as Optuna takes it")
    parser.add_argument("--study-name", help="default: data and mode")
    given = parser.parse_args(arguments)
    th.set_num_threads(1)
    try:
        job = Job("gac", given.data, given.seed, given.finetune, overrides=parse_overrides(given.set))
        study = open_study(given.study_name or f"{given.data}{'-online' if given.finetune else ''}", given.storage)
    except (ImportError, ValueError) as error:
        parser.error(str(error))
    search(job, study, given.n_trials, given.eval_episodes)
    print(f"best of {len(study.trials)} trials: number {study.best_trial.number}, {study.best_value:.1f}")
    best = replace(job, overrides=study.best_trial.user_attrs["overrides"], seed=given.seed + 1000)
    print(shlex.join(["python", *best.command([])]))
    print(f"its settings: {json.dumps(best.overrides)}")


if __name__ == "__main__":
    main()
