"""
A job is a command that writes one row; a grid of jobs runs on this machine or on a Ray cluster, by joblib.

On a cluster every machine needs this checkout, its Python, the data sets and the table under the same paths.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.recipes import CONTROLS, change, load_yaml, parse_overrides
from benchmarks.table import ROOT, Row, append_row, check_columns, find_row, from_root
from sb3_gac.extra import require

N_LINES = 15
RUNNING: "set[subprocess.Popen[str]]" = set()


class Job(ABC):
    """
    A training; the fields are those of the dataclasses that derive from it.

    :param algo: What learns.
    :param seed: Of the training.
    :param control: One of ``hyperparams/controls.yml``; empty for none.
    :param overrides: Settings that take the place of those it would have; dotted names enter dicts.
    """

    algo: str
    seed: int
    control: str
    overrides: Mapping[str, Any]
    # Columns that say how it went
    shown: ClassVar[Sequence[str]]

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it learns, for people."""

    @property
    def name(self) -> str:
        """What tells it from other jobs, for people."""
        overrides = json.dumps(self.overrides) if self.overrides else ""
        return f"{' '.join(filter(None, (self.algo, self.control, overrides, self.place)))}, seed {self.seed}"

    @abstractmethod
    def key(self) -> Row:
        """The columns that tell its row from others."""

    @abstractmethod
    def words(self) -> list[str]:
        """Its module, and those of its options that other kinds of jobs do not have."""

    def describe(self, row: Mapping[str, Any]) -> str:
        """A line that says how it went."""
        shown = {name.replace("_", " "): row[name] for name in self.shown if row[name] != ""}
        return f"{self.name}: {', '.join(f'{name} {float(value):,.2f}' for name, value in shown.items())}"

    def changed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Settings with the changes of its control and its overrides."""
        if self.control:
            params = change(params, load_yaml(CONTROLS)[self.control])
        return change(params, self.overrides)

    def command(self, options: Sequence[str]) -> list[str]:
        """The arguments of the interpreter; the options say where results go, and how often to evaluate."""
        words = ["-m", *self.words(), "--algo", self.algo, "--seed", str(self.seed)]
        words += ["--control", self.control] if self.control else []
        overrides = [f"{name}={json.dumps(value)}" for name, value in self.overrides.items()]
        return [*words, *(["--set", *overrides] if overrides else []), *options]

    def record(self, options: Sequence[str]) -> str:
        """The command as a table keeps it: a file outside of the checkout is its name, its folder says nothing elsewhere."""
        return shlex.join(["python", *(re.sub(r"(?:(?<==)|^)/\S*/", "", word) for word in self.command(options))])


def add_job_options(parser: argparse.ArgumentParser, algos: Iterable[str], out: Path) -> None:
    """Add the options that all grids share: the algorithms, and the default table."""
    algos = list(algos)
    parser.add_argument("--algo", nargs="+", choices=algos, default=["gac"], metavar="ALGO", help=f"of {', '.join(algos)}")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="seeds of the trainings")
    controls = ["none", *load_yaml(CONTROLS)]
    parser.add_argument("--control", nargs="+", choices=controls, default=["none"], help="controls of gac")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="such as policy_kwargs.plan_dim=8")
    parser.add_argument("--eval-freq", type=int, default=0, help="steps between evaluations during training (default: none)")
    parser.add_argument("--curves", type=Path, help="CSV file that gets a row per evaluation during training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster instead: its address, "auto", or "local" for one here')
    parser.add_argument("--out", type=Path, default=out, help="CSV file that gets a row per training (default: %(default)s)")


def parse_changes(given: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """The controls and the overrides of a command; controls are refused where they mean nothing."""
    controls = ["" if control == "none" else control for control in given.control]
    if any(controls) and given.algo != ["gac"]:
        raise ValueError("controls are of gac alone")
    return controls, parse_overrides(given.set)


def run_command(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    columns: Sequence[str],
    make_jobs: Callable[[argparse.Namespace], Sequence[Any]],
    run: Callable[[Any, argparse.Namespace, list[str]], Mapping[str, Any]],
) -> None:
    """
    Do the jobs of a command that have no row yet: a single one here, several as a grid, which exits with 1 when one failed.

    :param parser: See :func:`add_job_options`.
    :param arguments: Those of the command line if None.
    :param columns: Of the table; one with others is refused before hours of training.
    :param make_jobs: The jobs that were asked for.
    :param run: Does one and returns its row, given the options, and those of its command.
    """
    given = parser.parse_args(arguments)
    try:
        jobs = make_jobs(given)
        check_columns(given.out, columns)
        to_do = [job for job in jobs if find_row(given.out, job.key()) is None]
        if len(to_do) < len(jobs):
            print(f"{len(jobs) - len(to_do)} of {len(jobs)} jobs have a row in {given.out}", flush=True)
        options = ["--out", str(from_root(given.out))]
        for name in ("eval_freq", "curves", "eval_episodes", "device"):
            if (value := getattr(given, name, None)) != parser.get_default(name):
                options += [f"--{name.replace('_', '-')}", str(from_root(value) if isinstance(value, Path) else value)]
        if len(jobs) > 1:
            sys.exit(run_grid(to_do, given.out, options, given.jobs, given.ray) > 0)
        for job in to_do:
            row = run(job, given, options)
            append_row(given.out, row)
            print(job.describe(row), flush=True)
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))


def run_grid(jobs: Sequence[Job], out: Path, options: Sequence[str], n_jobs: int = 1, address: str | None = None) -> int:
    """
    Do jobs in processes of one thread each, print a line when one is done, and return how many failed.

    :param out: The table that their rows land in.
    :param options: Of each command.
    :param n_jobs: Jobs at a time on this machine.
    :param address: Of a Ray cluster to run on instead.
    """
    require("bench", "joblib")
    from joblib import Parallel, delayed, parallel_config

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops the processes of the grid
    if address is not None:
        _connect(address, n_jobs)
    tasks = (delayed(perform)(job, f"[{i}/{len(jobs)}] ", out, options) for i, job in enumerate(jobs, 1))
    try:
        with parallel_config("threading", n_jobs=n_jobs) if address is None else parallel_config("ray", n_jobs=-1):
            return sum(Parallel(pre_dispatch="n_jobs", batch_size=1)(tasks))
    finally:
        for process in tuple(RUNNING):  # none, unless this process is stopped
            process.terminate()


def _connect(address: str, n_jobs: int) -> None:
    require("ray", "ray")
    import ray
    from ray.util.joblib import register_ray

    # Ray's workers are to find this package where it is here
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(address, num_cpus=n_jobs if address == "local" else None, runtime_env=environment, include_dashboard=False)
    register_ray()  # type: ignore[no-untyped-call]


def perform(job: Job, label: str, out: Path, options: Sequence[str]) -> bool:
    """Do a job in a process, print how it went after a label, and return whether it failed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *job.command(options)]
    last: deque[str] = deque(maxlen=N_LINES)
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        RUNNING.add(process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line)
                if line.startswith("eval "):
                    print(line, end="", flush=True)
        except BaseException:  # a single job at a time runs in the main thread, which signals stop
            process.terminate()
            raise
    RUNNING.discard(process)
    row = find_row(out, job.key()) if process.returncode == 0 else None
    print(f"{label}{job.name} failed:\n{''.join(last)}" if row is None else f"{label}{job.describe(row)}", flush=True)
    return row is None
