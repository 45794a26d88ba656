import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
pytest.importorskip("tqdm")
pytest.importorskip("yaml")

from benchmarks.grid import Cell, make_grid
from benchmarks.job import ROOT, Job, Outcome, perform, perform_locally, perform_on_ray, read_rows
from benchmarks.sweep import add_rows, curves_path, find_finished, main, sweep

# What a run leaves, by a program that starts faster than PyTorch
PROGRAM = """
import pathlib, sys
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
print("this is run", seed)
if seed == 13:
    sys.exit("unlucky")
(folder / "results.csv").write_text(f"phase,score,mean_return,cpu_seconds\\noffline,{seed * 10},{seed},2.5\\n")
(folder / "evaluations.csv").write_text(f"phase,timesteps,score\\noffline,1,{seed}\\noffline,2,{seed * 10}\\n")
"""


@pytest.fixture(autouse=True)
def small_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells are real; what is run for them is the small program, where a test does not ask for the command itself."""

    def command(cell: Cell, python: str, data: str | None, folder: Path) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(folder), str(cell.seed)]

    monkeypatch.setattr(Cell, "command", command)


def make_cells(seeds: Sequence[int], **changes: Any) -> list[Cell]:
    return make_grid(["Pendulum-v1"], ["gac"], seeds, **changes)


def scores(path: Path) -> dict[str, str]:
    return {row["run"]: row["score"] for row in read_rows(path)}


def test_all_runs_are_in_the_table_with_their_curves(tmp_path: Path) -> None:
    results = tmp_path / "results.csv"
    failed = sweep(make_cells([0, 1, 2]), results, tmp_path / "runs", partial(perform_locally, n_workers=2))
    assert failed == []
    assert scores(results) == {f"Pendulum-v1/gac/seed{seed}": str(seed * 10) for seed in range(3)}
    points = read_rows(curves_path(results))
    assert [point["score"] for point in points if point["seed"] == "2"] == ["2", "20"]
    assert points[0]["task"] == "Pendulum-v1"
    assert "this is run 1" in (tmp_path / "runs" / "Pendulum-v1" / "gac" / "seed1" / "output.txt").read_text()


def test_a_task_has_its_data_set_made_and_is_given_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    given: list[str | None] = []
    monkeypatch.setattr("benchmarks.sweep.generate_dataset", made.append)
    command = Cell.command

    def note(cell: Cell, python: str, data: str | None, folder: Path) -> list[str]:
        given.append(data)
        return command(cell, python, data, folder)

    monkeypatch.setattr(Cell, "command", note)
    cells = make_grid(["maze2d-large"], ["gac"], [1])
    sweep(cells, tmp_path / "results.csv", tmp_path / "runs", partial(perform_locally, n_workers=1))
    assert made == ["maze2d-large"]
    assert given == ["gac/maze2d-large-v0"]


def test_finished_runs_are_skipped_and_killed_ones_done_again(tmp_path: Path) -> None:
    results = tmp_path / "results.csv"
    started: list[str] = []

    def killed_after(n_runs: int, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        for job in jobs:
            started.append(job.name)
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / "half").write_text("of a run")
            if len(started) > n_runs:
                raise KeyboardInterrupt
            yield job, perform(job)

    cells = make_cells([0, 1, 2])
    with pytest.raises(KeyboardInterrupt):
        sweep(cells, results, tmp_path / "runs", partial(killed_after, 1))
    assert list(scores(results)) == ["Pendulum-v1/gac/seed0"]
    started.clear()
    assert sweep(cells, results, tmp_path / "runs", partial(killed_after, 9)) == []
    assert started == ["Pendulum-v1/gac/seed1", "Pendulum-v1/gac/seed2"]
    assert len(scores(results)) == len(read_rows(results)) == 3
    assert not list((tmp_path / "runs").rglob("half"))
    assert sweep(cells, results, tmp_path / "runs", partial(killed_after, 9)) == []
    assert started == ["Pendulum-v1/gac/seed1", "Pendulum-v1/gac/seed2"]


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.csv"
    failed = sweep(make_cells([13, 1]), results, tmp_path / "runs", partial(perform_locally, n_workers=1))
    assert failed == ["Pendulum-v1/gac/seed13"]
    assert list(scores(results)) == ["Pendulum-v1/gac/seed1"]
    assert "unlucky" in capsys.readouterr().out


def test_rows_of_other_settings_are_not_taken_for_finished(tmp_path: Path) -> None:
    results = tmp_path / "results.csv"
    sweep(make_cells([0]), results, tmp_path / "runs", partial(perform_locally, n_workers=1))
    rows = read_rows(results)
    assert find_finished(make_cells([0, 1]), rows) == {"Pendulum-v1/gac/seed0"}
    with pytest.raises(ValueError, match=r"Pendulum-v1/gac/seed0 with other settings.*batch_size"):
        find_finished(make_cells([0], params={"batch_size": 3}), rows)


def test_rows_with_other_columns_are_added_and_those_of_the_same_run_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    add_rows(path, [{"run": "a", "score": "1"}, {"run": "a", "score": "2"}, {"run": "b", "score": "3"}])
    add_rows(path, [{"run": "a", "score": "4", "d3rlpy": "2.8.1"}])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["run", "score", "d3rlpy"], ["b", "3", ""], ["a", "4", "2.8.1"]]
    assert [path.name for path in path.parent.iterdir()] == ["table.csv"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--data", "Pendulum-v1", "--seeds", "3", "13", "--results", "results.csv", "--no-progress"]
    main([*arguments, "--dry-run"])
    assert capsys.readouterr().out == "Pendulum-v1/gac/seed3\nPendulum-v1/gac/seed13\n"
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    assert "1 of 2 runs are in results.csv\nfailed: Pendulum-v1/gac/seed13" in capsys.readouterr().out
    main([*arguments, "--dry-run"])
    assert "seed3: finished" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM to answer there")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_stopped_stops_its_runs(tmp_path: Path, signal_number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    run = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    program = (
        "import pathlib, signal, sys\n"
        "from benchmarks.job import Job, perform_locally\n"
        # As at a terminal: what a shell starts in the background, as some CI, is deaf to Ctrl-C
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run, pid_file = sys.argv[1:]\n"
        "command, folder = [sys.executable, '-c', run, pid_file], pathlib.Path(pid_file).parent\n"
        "list(perform_locally([Job(name, command, folder / name) for name in ('a', 'b')], n_workers=1))\n"
    )
    stopped = subprocess.Popen([sys.executable, "-c", program, run, str(pid_file)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not (pid_file.exists() and pid_file.read_text()):
            assert stopped.poll() is None
            time.sleep(0.01)
        pid = int(pid_file.read_text())
        stopped.send_signal(signal_number)
        assert stopped.wait(timeout=20) != 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    finally:
        stopped.kill()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "Pendulum-v1", "--workers", "0"], "--workers must be positive"),
        (["--data", "Pendulum-v1", "--algos", "dqn"], "no algorithm 'dqn'"),
        (
            ["--data", "hopper-medium=a.hdf5", "--algos", "iql", "--peers-python", "no-such-python"],
            "no-such-python: ",
        ),
        (["--data", "hopper-medium=a.hdf5", "--algos", "iql", "--peers-python", "/bin/false"], "has no d3rlpy"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--results", str(tmp_path / "results.csv"), "--no-progress"])
    assert message in " ".join(capsys.readouterr().err.split())


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'ray missing: pip install "\.\[ray\]"'):
        list(perform_on_ray([], "local"))


@pytest.mark.slow  # to start a cluster takes most of a minute
def test_a_ray_cluster_makes_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    tables = []
    for name, perform_jobs in (
        ("local", partial(perform_locally, n_workers=1)),
        ("ray", partial(perform_on_ray, address="local", n_workers=2)),
    ):
        results = tmp_path / f"{name}.csv"
        assert sweep(make_cells([1, 13, 2]), results, tmp_path / name, perform_jobs) == ["Pendulum-v1/gac/seed13"]
        tables.append([sorted(read_rows(path), key=str) for path in (results, curves_path(results))])
    assert tables[0] == tables[1]
    assert len(tables[0][0]) == 2


def test_the_root_is_where_the_commands_are_found() -> None:
    assert (ROOT / "benchmarks" / "train.py").is_file()
