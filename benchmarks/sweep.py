"""
Run a grid of data sets, algorithms and seeds, one process per run, and gather a table of all results.

    python -m benchmarks.sweep --data maze2d-umaze maze2d-medium --algos gac bc10 bc --seeds 0 1 2 --results runs/mazes.csv
    python -m benchmarks.sweep --data hopper-medium-replay=some/file.hdf5 --algos gac iql-return dt-return \\
        --peers-python .tox/peers/bin/python --results runs/hopper.csv
    python -m benchmarks.sweep --data maze2d-umaze --ablations all --results runs/ablations.csv
    python -m benchmarks.sweep --data maze2d-umaze --seeds 0 1 2 3 4 --ray-address auto --results runs/umaze.csv

The same command goes on where it was stopped: runs whose rows are in the table are skipped, those that were killed or failed
are done again. Evaluations on the way go to a second table, NAME-curves.csv; all else of a run is in a folder under --output.
On a Ray cluster every machine needs this checkout, its Python and the data sets under the same paths.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.datasets import dataset_id, generate_dataset
from benchmarks.envs import TASKS
from benchmarks.grid import ABLATIONS, ALL_ALGOS, Cell, load_ablations, make_grid
from benchmarks.hyperparam import HYPERPARAMS, parse_params
from benchmarks.job import Job, Outcome, Row, from_root, perform_locally, perform_on_ray, read_rows
from benchmarks.options import MODES, make_command_parser
from benchmarks.peer import D3RLPY
from sb3_gac.atomic import replace_when_complete
from sb3_gac.extra import require


def sweep(
    cells: Sequence[Cell],
    results: Path,
    output: Path,
    perform_jobs: Callable[[Sequence[Job]], Iterator[tuple[Job, Outcome]]],
    peers_python: str = sys.executable,
    progress_bar: bool = False,
) -> list[str]:
    """
    Do all runs that are not in the table, and add each to it as soon as it is done.

    :param cells: the runs.
    :param results: CSV file of results; that of the evaluations lies beside it.
    :param output: folder for the folders of the runs.
    :param perform_jobs: where to do them: yields each with its outcome.
    :param peers_python: the interpreter that has d3rlpy.
    :param progress_bar: whether to show one.
    :return: names of the runs that have failed.
    :raises ImportError: when d3rlpy is needed and missing.
    :raises ValueError: when the table has a run of the same name with other settings.
    """
    finished = find_finished(cells, read_rows(results))
    left = {cell.name: cell for cell in cells if cell.name not in finished}
    if any(cell.is_peer for cell in left.values()):
        _require_d3rlpy(peers_python)
    jobs = [_make_job(cell, output, peers_python) for cell in left.values()]
    failed = []
    with _make_bar(len(cells), len(cells) - len(jobs), progress_bar) as bar:
        for job, outcome in perform_jobs(jobs):
            if outcome.error:
                failed.append(job.name)
                bar.write(f"{job.name} has failed: {outcome.error}")
            else:
                _add_outcome(results, left[job.name], outcome)
                bar.write(f"{job.name}: {_describe(outcome.rows)}")
            bar.update()
    return failed


def find_finished(cells: Sequence[Cell], rows: Sequence[Row]) -> set[str]:
    """
    Names of the runs that are in a table.

    :param cells: the runs.
    :param rows: the table.
    :raises ValueError: when one of them is there with other settings.
    """
    found = {row["run"]: row["settings"] for row in rows}
    for cell in cells:
        if cell.name in found and found[cell.name] != cell.settings:
            raise ValueError(
                f"the results have {cell.name} with other settings, choose another file: {found[cell.name]} "
                f"instead of {cell.settings}"
            )
    return {cell.name for cell in cells if cell.name in found}


def curves_path(results: Path) -> Path:
    """
    Where the evaluations on the way are.

    :param results: CSV file of results.
    """
    return results.with_name(f"{results.stem}-curves{results.suffix}")


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """
    Add rows to a CSV file, which is replaced at once: whoever is killed here leaves the old or the new one.

    Rows of the same runs are dropped, and columns that are missing on either side are filled with nothing.

    :param path: the file; it is made if there is none.
    :param rows: each with a column "run".
    """
    runs = {row["run"] for row in rows}
    table = [*(row for row in read_rows(path) if row["run"] not in runs), *rows]
    columns = list(dict.fromkeys(column for row in table for column in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(table)


def _make_job(cell: Cell, output: Path, peers_python: str) -> Job:
    """The data set is made here and now: two processes would make it twice."""
    data = cell.data
    if data is None and cell.env in TASKS and cell.mode != "online":
        generate_dataset(cell.env)
        data = dataset_id(cell.env)  # where Minari keeps it is of no interest to who reads the record
    elif data is not None and Path(data).exists():
        data = str(from_root(Path(data)))
    folder = from_root(output / cell.name)
    return Job(cell.name, cell.command(peers_python if cell.is_peer else sys.executable, data, folder), folder)


def _add_outcome(results: Path, cell: Cell, outcome: Outcome) -> None:
    label: Row = {"run": cell.name, "variant": cell.variant}
    points = [{**label, "task": cell.task, "algo": cell.algo, "seed": str(cell.seed), **point} for point in outcome.points]
    # The results last: a run that is among them is finished
    if points:
        add_rows(curves_path(results), points)
    add_rows(results, [{**label, **row, "settings": cell.settings} for row in outcome.rows])


def _describe(rows: Sequence[Row]) -> str:
    return ", ".join(
        f"{row['phase']} {float(row['score']):.1f} ({float(row['mean_return']):.1f}) in {float(row['cpu_seconds']):.0f} CPU s"
        for row in rows
    )


def _require_d3rlpy(python: str) -> None:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('d3rlpy') is None)"
    try:
        is_missing = subprocess.run([python, "-c", code], check=False).returncode != 0
    except OSError as error:
        raise ImportError(f"no Python at {python}: {error}") from error
    if is_missing:
        raise ImportError(
            f"{python} has no d3rlpy ({D3RLPY}), which needs an environment of its own: run tox -e peers, "
            "then add --peers-python .tox/peers/bin/python"
        )


def _make_bar(total: int, initial: int, is_shown: bool) -> Any:
    require("zoo", "tqdm")
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, desc="sweep", unit=" runs", disable=not is_shown)


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = make_command_parser("sweep", __doc__)
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="DATA", help="tasks, TASK=PATH, Gymnasium ids, data=MINARI_ID"
    )
    parser.add_argument("--algos", nargs="+", default=["gac"], metavar="ALGO", help=f"of {', '.join(ALL_ALGOS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ablations", nargs="+", default=[], metavar="NAME", help="of the ablation file, or all")
    parser.add_argument("--ablation-file", type=Path, default=ABLATIONS, help="(default: %(default)s)")
    parser.add_argument("--mode", choices=MODES, help="phases of GAC (default: all that the data allow)")
    parser.add_argument("-params", "--hyperparams", nargs="+", default=[], metavar="KEY:VALUE", help="of all but the peers")
    parser.add_argument("--peer-params", nargs="+", default=[], metavar="KEY:VALUE", help="of the peers, n_updates included")
    parser.add_argument("--conf-file", type=Path, default=HYPERPARAMS, help="hyper-parameters (default: %(default)s)")
    parser.add_argument("--eval-episodes", type=int, default=50, help="of each final evaluation (default: %(default)s)")
    parser.add_argument(
        "--eval-freq", type=int, help="timesteps between evaluations of the learning curves (default: an eighth; 0: none)"
    )
    parser.add_argument("--results", type=Path, required=True, help="CSV file of results, to be made or continued")
    parser.add_argument("--output", type=Path, default=Path("runs") / "sweep", help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default: %(default)s)")
    parser.add_argument("--ray-address", help='a Ray cluster instead: its address, "auto", or "local" for a new one here')
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has d3rlpy (default: this one)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be run")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command; its exit status is 1 when a run has failed.

    :param arguments: those of the command line if None.
    """
    parser = make_parser()
    given = parser.parse_args(arguments)

    def perform_jobs(jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        if given.ray_address is None:
            return perform_locally(jobs, given.workers)
        return perform_on_ray(jobs, given.ray_address, given.workers)

    try:
        if given.workers < 1:
            raise ValueError(f"--workers must be positive, not {given.workers}")
        if given.ray_address is not None:
            require("ray", "ray")
        cells = make_grid(
            data=given.data,
            algos=given.algos,
            seeds=given.seeds,
            ablations=load_ablations(given.ablations, given.ablation_file),
            params=parse_params(given.hyperparams),
            peer_params=parse_params(given.peer_params),
            mode=given.mode,
            eval_episodes=given.eval_episodes,
            hyperparams=given.conf_file,
            eval_freq=given.eval_freq,
        )
        if given.dry_run:
            finished = find_finished(cells, read_rows(given.results))
            print("\n".join(f"{cell.name}{': finished' if cell.name in finished else ''}" for cell in cells))
            return
        # The runs have another working directory; a link to an interpreter is its virtual environment, it is not resolved
        python = os.path.abspath(shutil.which(given.peers_python) or given.peers_python)
        failed = sweep(cells, given.results, given.output, perform_jobs, python, given.progress_bar)
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(f"{len(cells) - len(failed)} of {len(cells)} runs are in {given.results}")
    if failed:
        print(f"failed: {', '.join(failed)}; what they printed is under {given.output}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
