from pathlib import Path

import pytest

from benchmarks.throughput import main, median_cpu_ms


def test_the_median_leaves_the_warm_up_out() -> None:
    calls = []
    assert median_cpu_ms(lambda: calls.append(1), repeats=3) < 1.0
    assert len(calls) == 8


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--hidden", "8", "--batch-size", "4", "--repeats", "2"]
    main([*sizes, "--output", str(tmp_path / "throughput.csv")])
    output = capsys.readouterr().out
    assert "gradient step, 4 segments, hidden 8" in output
    assert "predict, making plans, exploring, 8 environments" in output
    header, *rows = (tmp_path / "throughput.csv").read_text().splitlines()
    assert header.startswith("what,value,unit,commit,versions,date")
    assert len(rows) == 2 + 8 + 1
