"""The examples run, with settings that learn nothing but take seconds only."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run an example in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_offline_then_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("offline_then_online.py", "--gradient-steps", "5", "--timesteps", "1000", monkeypatch=monkeypatch, tmp_path=tmp_path)
    assert "after 1000 environment steps online: return -" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "runs/offline-online-example").iterdir()) == [
        "model.zip",
        "replay_buffer.safetensors",
    ]


def test_target_return(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    run("target_return.py", "--episodes", "10", "--gradient-steps", "5", monkeypatch=monkeypatch, tmp_path=tmp_path)
    assert capsys.readouterr().out.count("target ") == 6
    assert (tmp_path / "runs/target-return-example/target_return.png").is_file()


def test_many_envs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("many_envs.py", "--n-envs", "2", "--timesteps", "400", monkeypatch=monkeypatch, tmp_path=tmp_path)
    out = capsys.readouterr().out
    assert "400 steps of 2 environments" in out and "a call that plans for 2" in out


def test_draw_plots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run(
        "draw_plots.py",
        "--gradient-steps",
        "12",
        "--timesteps",
        "1000",
        "--runs",
        "1",
        monkeypatch=monkeypatch,
        tmp_path=tmp_path,
    )
    drawn = {path.name for path in (tmp_path / "runs/plots-example").glob("*.png")}
    assert {"target_return.png", "elbo.png", "learning_curves.png", "plan_map.png"} <= drawn
