"""
Search hyper-parameters with Optuna; several processes may share a study.

    python -m benchmarks.tune --env maze2d-umaze --n-trials 20 --workers 2 -params offline_gradient_steps:1500
    python -m benchmarks.tune --env maze2d-umaze --mode offline-to-online --storage postgresql+psycopg://user@host/studies
    python -m benchmarks.tune --serve 0.0.0.0:13000 --storage sqlite:///study.db          then, on any machine:
    python -m benchmarks.tune --env maze2d-umaze --storage grpc://host:13000

Each trial is a run of `python -m benchmarks.train` with the same options; its value is the normalised score after the last
phase, or the mean return where nobody knows reference scores. Trials whose evaluations fall behind are pruned, as are those
whose loss is not finite. The same command goes on with the study until it has --n-trials in all. What is given with -params
is not searched; learning rates fall to zero linearly. In the end the best settings and those of the file are trained with the
same fresh seeds (--n-checks): a best trial owes part of its value to luck.
"""

import argparse
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch as th

from benchmarks import train
from benchmarks.envs import Task, find_task
from benchmarks.hyperparam import dump_yaml
from benchmarks.job import read_rows
from benchmarks.objective import Objective, SurplusTrialError, objective_value
from benchmarks.options import Options, parse_options
from benchmarks.record import format_table, provenance, write_rows
from benchmarks.study import counted_trials, open_storage, open_study, release_trials, report_study, serve
from sb3_gac.extra import require

if TYPE_CHECKING:
    import optuna

# Far from the seed of the trials, and from that of the evaluations
CHECK_SEED = 1_000


@dataclass(frozen=True)
class TuneOptions:
    """
    What to search, how, and where to keep it.

    :param train: what each trial trains; ``mode`` and ``output`` are set.
    :param n_trials: trials of the study in all, those of earlier commands and of other machines among them.
    :param storage: see :func:`benchmarks.study.open_storage`.
    :param study_name: name of the study.
    :param workers: processes on this machine.
    :param n_seeds: seeds that each trial is trained with; its value is the mean. With one the best is often the luckiest.
    :param n_checks: fresh seeds to train the best settings and the default ones with; 0 for none.
    :param num_threads: threads of PyTorch in each process.
    """

    train: Options
    n_trials: int = 50
    storage: str = "study.log"
    study_name: str = "tune"
    workers: int = 1
    n_seeds: int = 1
    n_checks: int = 0
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("n_trials", 1), ("workers", 1), ("n_seeds", 1), ("n_checks", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.train.algo != "gac":
            raise ValueError(f"the search space is that of gac, not of {self.train.algo}")

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        assert self.train.output is not None
        return self.train.output


def prepare(options: TuneOptions) -> Task:
    """
    Complain before the work begins; data that has to be made first is made here, not by every worker at once.

    :param options: what to search, how, and where to keep it.
    :return: the task.
    :raises ConnectionError: when the storage cannot be reached.
    :raises ImportError: naming the extra, when something is missing.
    :raises ValueError: when the options contradict each other, the data, or the storage.
    """
    require("tune", "optuna")
    run = train.Run(options.train)
    assert run.model.env is not None
    run.model.env.close()
    open_storage(options.storage)
    return run.task


def tune(options: TuneOptions) -> "optuna.Study":
    """
    Search until the study has its trials, then report it and check the best one.

    :param options: what to search, how, and where to keep it.
    :return: the study.
    :raises RuntimeError: when a worker fails, or no trial is completed; see :func:`prepare` for other errors.
    """
    return _search(options, prepare(options))


def _search(options: TuneOptions, task: Task) -> "optuna.Study":
    study = open_study(options.study_name, options.storage, options.train.seed, worker=0)
    for number in release_trials(study):
        print(f"trial {number} was left unfinished and is given up")
    n_done = counted_trials(study)
    if n_done:
        print(f"the study has {n_done} of {options.n_trials} trials already")
    _run_workers(options, min(options.workers, max(options.n_trials - n_done, 0)))

    unit = "normalised score" if not np.isnan(task.ref_max_score) else "mean return"
    if not any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
        report_study(study, options.folder, unit)
        raise RuntimeError(f"no trial of the study {options.study_name} was completed, see {options.folder / 'trials.csv'}")
    dump_yaml({task.name: study.best_trial.user_attrs["hyperparams"]}, options.folder / "best.yml")
    references = {}
    if options.n_checks:
        values = check_best(options, task)
        references = {f"{name}, median of {options.n_checks}": float(np.median(of)) for name, of in values.items()}
    report_study(study, options.folder, unit, references)
    return study


def work(options: TuneOptions, worker: int) -> None:
    """
    Run trials until the study has all of them.

    :param options: what to search, how, and where to keep it.
    :param worker: number of this worker.
    """
    import optuna

    start_worker(options.num_threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(options.study_name, options.storage, options.train.seed, worker)

    def tell(study: optuna.Study, trial: "optuna.trial.FrozenTrial") -> None:
        if counted_trials(study) >= options.n_trials:
            study.stop()
        if trial.params:
            is_complete = trial.state == optuna.trial.TrialState.COMPLETE  # a pruned one has its last evaluation as value
            result = f"{trial.value:.1f}" if is_complete else trial.user_attrs.get("reason", trial.state.name)
            print(f"trial {trial.number} of {options.n_trials}: {result}", flush=True)

    objective = Objective(options.train, options.n_trials, options.n_seeds)
    study.optimize(objective, callbacks=[tell], catch=(SurplusTrialError,), gc_after_trial=True)


def check_best(options: TuneOptions, task: Task) -> dict[str, list[float]]:
    """
    Train the best settings and those of the file with the same fresh seeds; the rows are kept in ``checks.csv``.

    :param options: what was searched; ``best.yml`` is there.
    :param task: its task.
    :return: for "default" and "best", the value for each seed.
    """
    seeds = [options.train.seed + CHECK_SEED + i for i in range(options.n_checks)]
    files = {"default": options.train.hyperparams, "best": options.folder / "best.yml"}
    runs = [
        replace(options.train, seed=seed, hyperparams=path, eval_freq=0, output=options.folder / "checks" / f"{name}-{seed}")
        for name, path in files.items()
        for seed in seeds
    ]
    with _make_pool(options) as pool:
        results = [results[-1] for results in pool.map(train.train, runs)]
    names = [name for name in files for _ in seeds]
    made_by = provenance()
    rows = [{"settings": name, **asdict(result), **made_by} for name, result in zip(names, results, strict=True)]
    write_rows(options.folder / "checks.csv", rows)
    values = [objective_value(task, result) for result in results]
    return {"default": values[: len(seeds)], "best": values[len(seeds) :]}


def _run_workers(options: TuneOptions, n_workers: int) -> None:
    if n_workers == 1:
        return work(options, 0)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(options, worker)) for worker in range(n_workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise RuntimeError(f"{len(failed)} of {n_workers} workers failed, with exit codes {failed}; what they wrote is above")


def _make_pool(options: TuneOptions) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        options.workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(options.num_threads,),
    )


def start_worker(num_threads: int) -> None:
    """
    Make ready a process that works for another, and have it end with that one, however that may end.

    :param num_threads: CPU threads of PyTorch.
    """
    th.set_num_threads(num_threads)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)  # a trial that is under way is given up by the next search

    threading.Thread(target=end_with_parent, daemon=True).start()


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line: those of a training, and those of the search."""
    parser = train.make_parser()
    parser.prog, parser.description = "python -m benchmarks.tune", __doc__
    parser.set_defaults(mode="offline", eval_episodes=20)
    parser.add_argument("--n-trials", type=int, default=50, help="of the study in all (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine (default: %(default)s)")
    parser.add_argument(
        "--storage", help="journal file (*.log), URL of a database, or grpc://host:port (default: study.log in the folder)"
    )
    parser.add_argument("--study-name", help="default: task and mode")
    parser.add_argument("--n-seeds", type=int, default=1, help="seeds of each trial, whose value is the mean (default: 1)")
    parser.add_argument("--n-checks", type=int, default=0, help="fresh seeds for the best and the default settings")
    parser.add_argument("--serve", metavar="HOST:PORT", help="serve the database given with --storage, and do nothing else")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_parser()
    given = parser.parse_args(arguments)
    th.set_num_threads(given.num_threads)
    try:
        if given.serve is not None:
            return serve(given.storage or "", given.serve)
        options = parse_tune_options(given)
        task = prepare(options)
    except (ConnectionError, FileNotFoundError, ImportError, ValueError) as error:
        parser.error(str(error))
    study = _search(options, task)
    best = study.best_trial
    print(f"best of {counted_trials(study)} trials: number {best.number}, {best.value:.1f}")
    checks = options.folder / "checks.csv"
    if options.n_checks:
        print(f"with fresh seeds:\n{format_checks(checks)}")
    print(f"settings: {options.folder / 'best.yml'}; all else is in {options.folder}")


def parse_tune_options(given: argparse.Namespace) -> TuneOptions:
    """
    Options from the command line.

    :param given: what :func:`make_parser` has parsed.
    :raises ValueError: when the options contradict each other.
    """
    task = find_task(given.env, given.data)
    name = f"{task.name}-{given.mode}"
    folder = given.output or Path("runs") / task.name.replace("/", "_") / f"tune-{given.mode}"
    return TuneOptions(
        train=replace(parse_options(given), output=folder, progress_bar=False),
        n_trials=given.n_trials,
        storage=given.storage or str(folder / "study.log"),
        study_name=given.study_name or name,
        workers=given.workers,
        n_seeds=given.n_seeds,
        n_checks=given.n_checks,
        num_threads=given.num_threads,
    )


def format_checks(path: Path) -> str:
    """
    Scores and returns of the checks as a table, a row for each settings.

    :param path: the CSV file.
    """
    rows = read_rows(path)
    names = list(dict.fromkeys(row["settings"] for row in rows))
    table = []
    for name in names:
        of = [row for row in rows if row["settings"] == name]
        scores, returns = ([float(row[key]) for row in of] for key in ("score", "mean_return"))
        table.append(
            {
                "settings": name,
                "seeds": len(of),
                "median score": float(np.median(scores)),
                "median return": float(np.median(returns)),
                "scores": ", ".join(f"{score:.1f}" for score in scores),
            }
        )
    return format_table(table)


if __name__ == "__main__":
    main()
