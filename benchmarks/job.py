"""The runs of a sweep as processes, here or on a Ray cluster; imports nothing heavy, so that Ray's workers start quickly."""

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
N_LINES = 15

Row = dict[str, str]


@dataclass(frozen=True)
class Job:
    """
    What a process is to do.

    :param name: of the run.
    :param command: its command.
    :param folder: where it leaves everything; a relative one starts at the root of the checkout.
    """

    name: str
    command: list[str]
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """
    What became of a run.

    :param rows: its results, one per phase; none if it failed.
    :param points: its evaluations.
    :param error: the end of what it printed; empty if it did not fail.
    """

    rows: list[Row]
    points: list[Row]
    error: str = ""


def from_root(path: Path) -> Path:
    """
    A path as the runs see it, which start from the root of the checkout, and as short as that allows for the record.

    :param path: relative to the working directory, or absolute.
    """
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def perform(job: Job, running: "set[subprocess.Popen[Any]] | None" = None) -> Outcome:
    """
    Do a run from its start, whatever an earlier attempt has left.

    :param job: the run.
    :param running: has its process as long as that runs, for others to stop.
    """
    folder = ROOT / job.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(job.command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        running = set() if running is None else running
        running.add(process)
        process.wait()
        running.remove(process)
        output.seek(0)
        last = output.readlines()[-N_LINES:]
    if process.returncode != 0:
        return Outcome([], [], f"exit status {process.returncode}\n{''.join(last)}")
    return Outcome(read_rows(folder / "results.csv"), read_rows(folder / "evaluations.csv"))


def perform_locally(jobs: Sequence[Job], n_workers: int) -> Iterator[tuple[Job, Outcome]]:
    """
    Do the runs in processes of this machine, and yield each when it is done; those that run are stopped with this process.

    :param jobs: the runs.
    :param n_workers: processes at a time.
    """
    running: set[subprocess.Popen[Any]] = set()
    with _exit_when_terminated(), ThreadPoolExecutor(n_workers) as pool:
        futures = {pool.submit(perform, job, running): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            # One may be about to start its process
            while not all(future.done() for future in futures):
                for process in tuple(running):
                    process.terminate()
                time.sleep(0.05)


@contextlib.contextmanager
def _exit_when_terminated() -> Iterator[None]:
    """SIGTERM, of which Python dies at once, raises SystemExit inside, so that what has to be tidied up is."""
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def perform_on_ray(jobs: Sequence[Job], address: str, n_workers: int | None = None) -> Iterator[tuple[Job, Outcome]]:
    """
    Do the runs on a Ray cluster, one CPU each, and yield each when it is done.

    :param jobs: the runs.
    :param address: of the cluster, "auto" for the one this machine belongs to, "local" for a new one on this machine.
    :param n_workers: CPUs of a new one; None for all.
    :raises ImportError: naming the extra, when Ray is missing.
    """
    from sb3_gac.extra import require

    require("ray", "ray")
    import ray

    # Ray's workers are to find this package where it is here
    runtime_env = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    n_cpus = n_workers if address == "local" else None
    ray.init(address, num_cpus=n_cpus, runtime_env=runtime_env, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(perform)
        running = {remote.remote(job): job for job in jobs}
        while running:
            done, _ = ray.wait(list(running))
            for reference in done:
                job = running.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:  # its machine was lost
                    outcome = Outcome([], [], str(error))
                yield job, outcome
    finally:
        ray.shutdown()


def read_rows(path: Path) -> list[Row]:
    """
    Rows of a CSV file; none if there is no file.

    :param path: the file.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
