"""
A job is a command that writes one row; a grid of jobs runs on this machine or on a Ray cluster, by joblib.

On a cluster every machine needs this checkout, its Python, the data sets and the table under the same paths.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.table import ROOT, Row, check_columns, find_row, from_root
from sb3_gac.extra import require

N_LINES = 15
RUNNING: "set[subprocess.Popen[str]]" = set()


class Job(Protocol):
    """A training that a command does."""

    @property
    def name(self) -> str:
        """What tells it from other jobs, for people."""

    def key(self) -> Row:
        """The columns that tell its row from others."""

    def command(self, options: Sequence[str]) -> list[str]:
        """The arguments of the interpreter; the options say where results go, and how often to evaluate."""

    def describe(self, row: Mapping[str, Any]) -> str:
        """A line that says how it went."""


def add_grid_options(parser: argparse.ArgumentParser, out: Path) -> None:
    """
    Add the options that all grids share.

    :param parser: Is given them.
    :param out: The default table.
    """
    parser.add_argument("--eval-freq", type=int, default=0, help="steps between evaluations during training (default: none)")
    parser.add_argument("--curves", type=Path, help="CSV file that gets a row per evaluation during training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster instead: its address, "auto", or "local" for one here')
    parser.add_argument("--out", type=Path, default=out, help="CSV file that gets a row per training (default: %(default)s)")


def grid_options(given: argparse.Namespace) -> list[str]:
    """The options that a grid hands to each of its jobs."""
    options = ["--out", str(from_root(given.out))]
    options += ["--eval-freq", str(given.eval_freq)] if given.eval_freq else []
    return [*options, *(["--curves", str(from_root(given.curves))] if given.curves else [])]


def jobs_to_do(jobs: Sequence[Job], out: Path, columns: Sequence[str]) -> list[Any]:
    """
    The jobs that have no row yet.

    :param jobs: The jobs.
    :param out: The table.
    :param columns: Its columns.
    :raises ValueError: when it has others; better before hours of training than after.
    """
    check_columns(out, columns)
    to_do = [job for job in jobs if find_row(out, job.key()) is None]
    if len(to_do) < len(jobs):
        print(f"{len(jobs) - len(to_do)} of {len(jobs)} jobs have a row in {out}", flush=True)
    return to_do


def run_grid(jobs: Sequence[Job], given: argparse.Namespace, options: Sequence[str]) -> int:
    """
    Do jobs in processes of one thread each, print a line when one is done, and return how many failed.

    :param jobs: The jobs.
    :param given: See :func:`add_grid_options`.
    :param options: Of each command.
    """
    require("bench", "joblib")
    from joblib import Parallel, delayed

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops the processes of the grid
    try:
        with _backend(given.ray, given.jobs):
            tasks = (delayed(perform)(job, f"[{i}/{len(jobs)}] ", given.out, options) for i, job in enumerate(jobs, 1))
            return sum(Parallel(pre_dispatch="n_jobs", batch_size=1)(tasks))
    finally:
        for process in tuple(RUNNING):  # none, unless this process is stopped
            process.terminate()


def _backend(address: str | None, n_jobs: int) -> AbstractContextManager[Any]:
    from joblib import parallel_config

    if address is None:
        return parallel_config("threading", n_jobs=n_jobs)
    require("ray", "ray")
    import ray
    from ray.util.joblib import register_ray

    # Ray's workers are to find this package where it is here
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(address, num_cpus=n_jobs if address == "local" else None, runtime_env=environment, include_dashboard=False)
    register_ray()  # type: ignore[no-untyped-call]
    return parallel_config("ray", n_jobs=-1)  # type: ignore[no-any-return]


def perform(job: Job, label: str, out: Path, options: Sequence[str]) -> bool:
    """
    Do a job in a process, print how it went, and return whether it failed.

    :param job: The job.
    :param label: What the line begins with.
    :param out: The table that its row lands in.
    :param options: Of its command.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    last: deque[str] = deque(maxlen=N_LINES)
    with subprocess.Popen(
        [sys.executable, *job.command(options)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        RUNNING.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            if line.startswith("eval "):
                print(line, end="", flush=True)
        process.wait()
        RUNNING.discard(process)
    row = find_row(out, job.key()) if process.returncode == 0 else None
    told = f"{job.name} failed:\n{''.join(last)}" if row is None else job.describe(row)
    print(f"{label}{told}", flush=True)
    return row is None
