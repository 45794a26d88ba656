from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

from benchmarks import offline, online
from benchmarks.report import collect, gain_table, main, published_table, score_table, search_table, write_page
from benchmarks.table import Row, append_row


def make_row(algo: str, seed: int, score: float, task: str = "maze2d-umaze", **changes: Any) -> Row:
    row = dict.fromkeys(offline.COLUMNS, "") | {"algo": algo, "task": task, "seed": str(seed), "overrides": "{}"}
    row |= {"score": str(score), "mean_return": str(10 * score), "train_cpu_s": "60", "n_updates": "100"}
    return row | {name: str(value) for name, value in {"information": "return", "n_parameters": 9, **changes}.items()}


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_a_score_has_its_interval_and_a_mark_where_it_differs() -> None:
    rows = [make_row("gac", seed, score) for seed, score in enumerate([10.0, 12.0, 14.0, 16.0])]
    rows += [make_row("bc", seed, score, information="none") for seed, score in enumerate([1.0, 2.0, 3.0, 4.0])]
    rows += [make_row("bc10", seed, 11.0 + seed) for seed in range(4)]
    header, _, *lines = cells(score_table(rows, "task", "score"))
    assert header == ["method", "reward supervision", "maze2d-umaze", "seeds", "CPU s", "updates", "parameters"]
    # t with three degrees of freedom is 3.18; the standard errors are 1.29 and 0.65
    assert lines[0] == ["GAC", "return", "13.0 (8.9 to 17.1)", "4", "60", "100", "9"]
    assert lines[1] == ["BC", "none", "2.5 (0.4 to 4.6) †", "4", "60", "100", "9"]
    assert lines[2][2] == "12.5 (10.4 to 14.6)"


def test_all_tasks_together_have_an_interquartile_mean() -> None:
    rows = [make_row("gac", seed, 10.0 * seed, task) for task in ("hopper-medium", "maze2d-umaze") for seed in range(4)]
    rows.append(make_row("bc", 0, 1.0))
    header, _, gac, bc = cells(score_table(rows, "task", "score"))
    assert header[2:5] == ["maze2d-umaze", "hopper-medium", "IQM"]  # the order of the tasks
    assert gac[4].startswith("15.0 (") and bc[3:5] == ["", ""]


def test_a_seed_that_is_there_twice_counts_once_and_a_task_without_scores_has_returns() -> None:
    rows = [make_row("gac", 0, 1.0), make_row("gac", 0, 2.0), make_row("gac", 1, float("nan"), mean_return=-7.0)]
    assert collect(rows, "task", "score") == {"maze2d-umaze": {"GAC": {"0": 1.0, "1": -7.0}}}


def test_a_seed_in_one_and_in_several_environments_is_not_the_same_run() -> None:
    rows = [make_row("gac", 0, 1.0, n_envs=4), make_row("gac", 0, 2.0, n_envs=1), make_row("ppo", 0, 3.0, n_envs=1)]
    expected = {"GAC": {"0": 1.0}, "GAC in one environment": {"0": 2.0}, "PPO": {"0": 3.0}}
    assert collect(rows, "task", "score") == {"maze2d-umaze": expected}


def test_the_gain_is_that_of_the_same_models() -> None:
    rows = [make_row("gac", seed, 10.0 * seed, online_score=10.0 * seed + gain) for seed, gain in enumerate([1.0, 2.0, 3.0])]
    line = cells(gain_table(rows))[2]
    assert line == ["maze2d-umaze", "GAC", "10.0 (-14.8 to 34.8)", "12.0 (-15.3 to 39.3)", "2.0 (-0.5 to 4.5)", "0.25", "3"]


def test_the_search_is_that_of_the_same_models() -> None:
    plans = [{"prior_mean_score": 10.0 * seed, "random_plan_score": 1.0} for seed in range(2)]
    rows = [make_row("gac", seed, 30.0, **scores) for seed, scores in enumerate(plans)]
    header, _, line = cells(search_table(rows))
    assert header == ["task", "best plan", "prior mean", "random plan", "seeds"]
    assert [cell.split(" (")[0] for cell in line] == ["maze2d-umaze", "30.0", "5.0", "1.0", "2"]


def test_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    lines = cells(published_table(["maze2d-umaze"]))
    assert lines[0] == ["method", "reward supervision", "maze2d-umaze", "source"]
    assert ["GAC", "return", "67.8", "arXiv 2512.21527"] in lines
    assert published_table(["nothing"]) == ""
    main(["--published", "maze2d-umaze"])
    assert cells(capsys.readouterr().out) == lines


def test_the_page_of_both_commands_with_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        append_row(tmp_path / "offline.csv", make_row("gac", seed, 10.0 * seed, data_digest=f"d{seed}", online_score=30.0))
        row = dict.fromkeys(online.COLUMNS, "") | {"algo": "ppo", "env": "Pendulum-v1", "seed": seed, "overrides": "{}"}
        row |= {"steps": "60000"}
        row |= {"rewards": "step", "mean_return": -100 - seed, "train_cpu_s": 5, "n_updates": 1, "n_parameters": 2}
        append_row(tmp_path / "online.csv", row)
        for step in (100, 200):
            key = {name: row[name] for name in online.KEY_COLUMNS}
            append_row(
                tmp_path / "curves.csv", {**key, "step": step, "mean_return": step, "train_return": 0, "train_cpu_s": 1}
            )
    page = tmp_path / "page.md"
    (tmp_path / "tried.md").write_text("## What was tried")
    files = [str(tmp_path / name) for name in ("offline.csv", "online.csv")]
    main([*files, "--curves", str(tmp_path / "curves.csv"), "--output", str(page)])
    text = page.read_text()
    for part in (
        "## Offline: normalised score",
        "## Offline to online",
        "online, step rewards: return",
        "| Pendulum-v1, 60,000 steps |",
        "| PPO ",
        "## What was tried",
    ):
        assert part in text
    assert "**Rows of different data, which say nothing of each other: maze2d-umaze.**" in text
    assert (tmp_path / "curves-Pendulum-v1-step.png").read_bytes()[
        :4
    ] == b"\x89PNG" and "](curves-Pendulum-v1-step.png)" in text
    main(files)
    assert "| GAC " in capsys.readouterr().out
    with pytest.raises(ValueError, match="has no rows"):
        write_page([tmp_path / "nothing.csv"])
