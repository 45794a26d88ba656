from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("h5py")
pytest.importorskip("matplotlib")
pytest.importorskip("minari")
pytest.importorskip("mujoco")
pytest.importorskip("tqdm")
pytest.importorskip("yaml")

from benchmarks import demo
from benchmarks.envs import TASKS
from benchmarks.table import read_rows


def test_the_demonstration_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(TASKS, demo.TASK, replace(TASKS[demo.TASK], horizon=30))
    budget = ["--steps", "3", "--online-steps", "100", "--data-steps", "1000", "--episodes", "2"]
    demo.main([*budget, "--output", str(tmp_path)])
    output = capsys.readouterr().out
    assert "GAC, offline, regenerated data " in output
    assert "GAC, then online, regenerated data " in output
    assert "67.8" in output
    for name in ("plans_offline.png", "plans_online.png", "model_offline.zip", "model_online.zip", "offline/progress.csv"):
        assert (tmp_path / name).is_file()
    (row,) = read_rows(tmp_path / "results.csv")
    assert row["n_env_steps"] == "200"  # four environments, fifty steps each between two rounds of learning
