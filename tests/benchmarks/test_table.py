import itertools
import multiprocessing
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.table import ROOT, append_row, find_row, format_table, from_root, provenance, read_rows


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    rows: list[dict[str, Any]] = [
        {"text": 'a "b", c', "number": 0.1 + 0.2, "none": ""},
        {"text": "ü", "number": 1, "none": ""},
    ]
    for row in rows:
        append_row(path, row)
    assert read_rows(path) == [{name: str(value) for name, value in row.items()} for row in rows]
    assert find_row(path, {"text": "ü"}) == {"text": "ü", "number": "1", "none": ""}
    assert find_row(path, {"text": "ü", "number": "2"}) is None
    assert read_rows(tmp_path / "nothing.csv") == []


def append_rows(path: Path, start: Any, name: str) -> None:
    start.wait()
    for i in range(20):
        append_row(path, {"name": name, "i": i, "text": "x, " * random.randrange(50)})


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="spawned processes import for too long")
def test_two_processes_append_and_no_row_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    path = tmp_path / "rows.csv"
    processes = [context.Process(target=append_rows, args=(path, start, name)) for name in "ab"]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(10)
        assert process.exitcode == 0
    found = {(row["name"], row["i"]) for row in read_rows(path)}
    assert len(path.read_text().splitlines()) == 41
    assert found == set(itertools.product("ab", map(str, range(20))))
    assert list(tmp_path.iterdir()) == [path]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    append_row(tmp_path / "rows.csv", {"a": 1})
    with pytest.raises(ValueError, match="other columns: a"):
        append_row(tmp_path / "rows.csv", {"b": 1})


def test_columns_line_up() -> None:
    table = format_table([{"name": "a", "value": 1.25}, {"name": "long", "value": float("nan")}])
    assert table.splitlines() == ["| name | value |", "| ---- | ----- |", "| a    | 1.2   |", "| long |       |"]


def test_what_made_a_row() -> None:
    made_by = provenance()
    assert "torch " in made_by["versions"] and made_by["date"].startswith("20")
    assert from_root(ROOT / "a" / "b") == Path("a", "b")
