"""The documented compatibility is backed by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
NAME = re.compile(r"`(tests/[\w/]+\.py::[\w:]+)`")


def names_of_tests(source: str) -> set[str]:
    """Names of the tests of a file, those of classes with the name of the class before them."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return {name for name in names if name.split("::")[-1].startswith("test_")}


def rows(heading: str) -> list[list[str]]:
    """Cells of the lines of the table below a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


FEATURES = [row for row in rows("Features") if not row[0].startswith("**")]


@pytest.mark.parametrize("name", sorted(set(NAME.findall(PAGE))))
def test_a_test_that_is_named_exists(name: str) -> None:
    file, test = name.split("::", maxsplit=1)
    assert test in names_of_tests((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: row[0])
def test_every_feature_says_whether_and_names_a_test(row: list[str]) -> None:
    assert len(row) == 5
    assert re.match(r"(yes|no)\b", row[4])
    assert NAME.search(row[4])


@pytest.mark.parametrize("row", rows("Errors"), ids=lambda row: row[0])
def test_every_error_names_its_type_and_a_test(row: list[str]) -> None:
    assert len(row) == 3
    assert re.search(r"`\w+Error`", row[1])
    assert NAME.search(row[2])


def test_the_tables_are_read() -> None:
    assert len(FEATURES) > 50
    assert len(rows("Errors")) > 10


def test_which_functions_are_tests() -> None:
    source = "def test_a(): ...\ndef helper(): ...\nclass TestB:\n    def test_c(self): ...\n    def _d(self): ...\n"
    assert names_of_tests(source) == {"test_a", "TestB::test_c"}
