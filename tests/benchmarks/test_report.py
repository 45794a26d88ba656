from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
pytest.importorskip("matplotlib")
pytest.importorskip("yaml")

from benchmarks import report
from benchmarks.job import Row, read_rows
from benchmarks.record import write_rows
from benchmarks.report import Report, main
from benchmarks.report_plots import curves_of
from benchmarks.summary import Method
from benchmarks.sweep import curves_path


def make_row(algo: str, seed: int, score: float, **changes: str) -> Row:
    row = {"run": "", "variant": "", "task": "maze2d-umaze", "algo": algo, "seed": str(seed), "phase": "offline"}
    row |= {"score": str(score), "mean_return": "1", "cpu_seconds": "5", "n_updates": "8", "n_env_steps": "0"}
    row |= {"command": f"python -m benchmarks.train --seed {seed}", "commit": "abc", "torch": "2.13.0"}
    return {**row, **changes}


def make_point(algo: str, seed: int, timesteps: int, score: float, **changes: str) -> Row:
    point = {"run": "", "variant": "", "task": "maze2d-umaze", "algo": algo, "seed": str(seed), "phase": "offline"}
    return {
        **point,
        "timesteps": str(timesteps),
        "cpu_seconds": str(timesteps / 10),
        "mean": "0",
        "score": str(score),
        **changes,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two seeds of the recipe, offline and online, one of an ablation, one of a peer; with curves."""
    rows = [make_row("gac", seed, 60.0 + 20 * seed) for seed in (0, 1)]
    rows += [make_row("gac", seed, 100.0, phase="online") for seed in (0, 1)]
    rows += [make_row("gac", 0, 30.0, variant="no-clock"), make_row("dt-return", 0, 11.5)]
    points = [make_point("gac", seed, steps, steps / 10 + seed) for seed in (0, 1) for steps in (100, 200)]
    points += [make_point("gac", seed, steps, 99.0, phase="online") for seed in (0, 1) for steps in (50, 100)]
    points += [make_point("dt-return", 0, steps, 5.0) for steps in (10, 20, 30)]
    write_rows(tmp_path / "maze.csv", rows)
    write_rows(curves_path(tmp_path / "maze.csv"), points)
    return tmp_path / "maze.csv"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    columns = ("model", "seed", "task", "asked", "mean_return", "return_low", "return_high", "n_episodes")
    values = [("m.zip", "0", "maze2d-umaze", asked, asked / 2, asked / 2 - 5, asked / 2 + 5, 20) for asked in (10, 100)]
    write_rows(tmp_path / "asked.csv", [dict(zip(columns, row, strict=True)) for row in values])
    return tmp_path / "asked.csv"


def test_it_warns_of_rows_of_different_data(results: Path, tmp_path: Path) -> None:
    assert "different data" not in Report([results], tmp_path, "page", "Page").write().read_text()
    rows = [make_row("gac", 2, 1.0, data_digest="aaa"), make_row("dt-return", 2, 1.0, data_digest="bbb")]
    write_rows(results, [{**row, "data_digest": row.get("data_digest", "")} for row in [*read_rows(results), *rows]])
    assert "different data, which say nothing of each other: maze2d-umaze (aaa, bbb)" in (
        Report([results], tmp_path, "page", "Page").write().read_text()
    )


def test_a_page_with_all_that_there_is(results: Path, calibration: Path, tmp_path: Path) -> None:
    page = Report([results, calibration], tmp_path / "out", "maze", "Mazes").write()
    text = page.read_text()
    assert page == tmp_path / "out" / "maze.md"
    assert text.startswith("# Mazes\n\nMade by `python ")
    assert "| GAC                     | return          | 70.0 (60.0 to 80.0) | 2     | 8       | 5     |" in text
    assert "| maze2d-umaze | GAC    | 70.0 (60.0 to 80.0) | 100.0 (100.0 to 100.0) | +30.0" in text
    assert "-40.0" in text.split("## Ablations, offline")[1]
    assert "regenerated data" in text
    assert "published, original D4RL data" in text
    assert "50.0" in text.split("## Return asked for and achieved")[1]
    assert "python -m benchmarks.train --seed 1\n" in text
    assert "- torch: 2.13.0" in text
    pictures = ("curves-offline", "curves-online", "cost", "ablations-offline", "calibration")
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(
        ["maze.md", *(f"maze-{name}.png" for name in pictures)]
    )
    for name in pictures:
        assert f"](maze-{name}.png)" in text
        assert (page.parent / f"maze-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_there_is_not_is_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path / "one.csv", [make_row("gac", 0, 60.0, task="Pendulum-v1")])
    page = Report([tmp_path / "one.csv"], tmp_path / "out", "one", "One").write()
    headings = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    assert headings == ["## Scores, offline", "## Where the rows are from"]
    assert [path.name for path in page.parent.iterdir()] == ["one.md"]


def test_curves_are_those_of_the_recipes(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = [make_point("gac", 0, 100, 5.0, variant="no-clock", task=task) for task in ("maze2d-umaze", "maze2d-large")]
    write_rows(curves_path(results), [*read_rows(curves_path(results)), *variant])
    drawn = []
    monkeypatch.setattr(report, "plot_curves", lambda curves, *_, **__: drawn.append(curves))
    Report([results], tmp_path / "out", "maze", "Mazes").write()
    assert len(drawn) == 3
    for curves in drawn:
        assert list(curves) == ["maze2d-umaze"]  # no empty panel
        assert not any(method.variant for method in curves["maze2d-umaze"])


def test_curves_are_means_over_the_seeds() -> None:
    points = [make_point("gac", seed, steps, steps / 10 + 2 * seed) for seed in (0, 1) for steps in (100, 200)]
    curves = curves_of([*points, make_point("gac", 0, 300, 9.0)], "timesteps")
    # The third evaluation, which one seed has not, is no mean over both
    assert curves == {"offline": {"maze2d-umaze": {Method("gac"): [(100.0, 11.0, 10.0, 12.0), (200.0, 21.0, 20.0, 22.0)]}}}


def test_curves_of_the_online_phase_start_where_the_offline_phase_ended() -> None:
    points = [make_point("gac", 0, steps, steps / 10) for steps in (100, 200)] + [
        make_point("gac", 0, 50, 99.0, phase="online")
    ]
    online = Method("gac", phase="online")
    curve = curves_of(points, "timesteps")["online"]["maze2d-umaze"][online]
    assert [(x, mean) for x, mean, _, _ in curve] == [(0.0, 20.0), (50.0, 99.0)]
    # Of the same seed: another one that did not go on has no say
    with_another = curves_of([*points, make_point("gac", 1, 100, 90.0)], "timesteps")
    assert with_another["online"]["maze2d-umaze"][online] == curve
    assert len(curves_of(points, "cpu_seconds")["online"]["maze2d-umaze"][online]) == 1
    assert len(curves_of(points[2:], "timesteps")["online"]["maze2d-umaze"][online]) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["none.csv"], "no file"),
        (["other.csv"], "neither results nor a calibration"),
        (["maze.csv", "maze.csv"], "there twice"),
    ],
)
def test_bad_files_are_refused(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: Sequence[str], message: str
) -> None:
    write_rows(tmp_path / "other.csv", [{"a": 1}])
    with pytest.raises(SystemExit, match="2"):
        main([*(str(tmp_path / name) for name in names), "--output", str(tmp_path / "out")])
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(results), "--output", str(tmp_path / "out"), "--title", "A title"])
    assert "maze.md" in capsys.readouterr().out
    assert (tmp_path / "out" / "maze.md").read_text().startswith("# A title")
