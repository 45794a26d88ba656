import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("joblib")
pytest.importorskip("yaml")

from benchmarks import runner
from benchmarks.runner import run_grid
from benchmarks.table import ROOT, Row, read_rows

PROGRAM = """
import sys, time
from pathlib import Path
from benchmarks.table import append_row
seed, out = sys.argv[sys.argv.index("--seed") + 1], Path(sys.argv[sys.argv.index("--out") + 1])
print("eval of seed", seed)
if seed == "1":
    sys.exit("no such thing")
if "--wait" in sys.argv:
    Path(sys.argv[-1]).touch()
    time.sleep(60)
append_row(out, {"seed": seed, "value": 2 * int(seed)})
"""


@dataclass(frozen=True)
class Doubling(runner.Job):
    """Writes twice its seed, unless that is 1."""

    folder: Path
    seed: int
    algo: str = "double"
    control: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    shown: ClassVar = ("value",)

    @property
    def place(self) -> str:
        return "here"

    def key(self) -> Row:
        return {"seed": str(self.seed)}

    def words(self) -> list[str]:
        return ["doubling"]

    def command(self, options: Any) -> list[str]:
        program = self.folder / "doubling.py"
        program.write_text(PROGRAM)
        return [str(program), *super().command(options)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_grid_goes_on_after_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    jobs = [Doubling(tmp_path, seed) for seed in range(3)]
    assert run_grid(jobs, out, ["--out", str(out)], n_jobs=2) == 1
    lines = capsys.readouterr().out
    assert "[3/3] double here, seed 2: value 4.00" in lines and "eval of seed 0" in lines
    assert "[2/3] double here, seed 1 failed:\neval of seed 1\nno such thing" in lines
    assert sorted((row["seed"], row["value"]) for row in read_rows(out)) == [("0", "0"), ("2", "4")]


def test_a_stopped_grid_stops_its_jobs(tmp_path: Path) -> None:
    sign = tmp_path / "started"
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.benchmarks.test_runner import Doubling\n"
        "from benchmarks.runner import run_grid\nfolder = Path(sys.argv[1])\n"
        "run_grid([Doubling(folder, 0), Doubling(folder, 2)], folder / 'out.csv',"
        " ['--out', str(folder / 'out.csv'), '--wait', str(folder / 'started')])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        while not sign.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        # The job has this pipe's end, too: it is closed when both have ended
        process.communicate(timeout=30)
    assert process.returncode == 1
    assert read_rows(tmp_path / "out.csv") == []


@pytest.mark.slow  # to start a cluster takes most of a minute
def test_a_ray_cluster_does_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    import ray

    out = tmp_path / "out.csv"
    try:
        assert run_grid([Doubling(tmp_path, seed) for seed in (0, 1, 2)], out, ["--out", str(out)], 1, "local") == 1
    finally:
        ray.shutdown()
    assert sorted(row["value"] for row in read_rows(out)) == ["0", "4"]
