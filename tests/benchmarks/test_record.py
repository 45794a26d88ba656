import re
import subprocess
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import commit, format_range, format_table, provenance, write_rows


def test_rows_are_written_and_added(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    write_rows(path, [{"a": 1, "b": "x, y"}])
    write_rows(path, [{"a": 2, "b": None}, {"a": 3, "b": 0.5}], append=True)
    assert path.read_text() == 'a,b\n1,"x, y"\n2,\n3,0.5\n'
    write_rows(path, [{"c": 1}])
    assert path.read_text() == "c\n1\n"


def test_rows_with_other_columns_are_not_added(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_rows(path, [{"a": 1}])
    with pytest.raises(ValueError, match="other columns: a"):
        write_rows(path, [{"b": 1}], append=True)
    assert path.read_text() == "a\n1\n"


def test_a_table_lines_up() -> None:
    rows = [{"name": "a", "score": 1.25, "note": ""}, {"name": "long", "score": float("nan"), "note": 3}]
    assert format_table(rows).splitlines() == [
        "| name | score | note |",
        "| ---- | ----- | ---- |",
        "| a    | 1.2   |      |",
        "| long |       | 3    |",
    ]


def test_a_range_of_nothing_is_empty() -> None:
    assert format_range(1.0, 2.25) == "1.0 to 2.2"
    assert format_range(float("nan"), float("nan")) == ""


def test_what_bears_on_a_result_is_recorded() -> None:
    made_by = provenance()
    assert made_by["command"].startswith("python ")
    assert made_by["sb3_gac"] == "0.1.0" or re.fullmatch(r"\d+\.\d+\.\d+.*", made_by["sb3_gac"])
    for package in ("torch", "numpy", "stable_baselines3", "gymnasium"):
        assert re.match(r"\d+\.\d+", made_by[package])


def test_the_commit_tells_whether_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    monkeypatch.setattr(record, "__file__", str(tmp_path / "record.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == ""
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    assert re.fullmatch(r"[0-9a-f]{12}", commit())
    (tmp_path / "untracked").write_text("1")
    assert "+" not in commit()
    (tmp_path / "a").write_text("2")
    assert commit().endswith("+changes")
