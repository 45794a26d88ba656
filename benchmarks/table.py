"""Rows of CSV files: written by many processes, found again, shown as Markdown; and what made them."""

import csv
import importlib.metadata
import importlib.util
import math
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sb3_gac.atomic import lock_folder

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("stable_baselines3", "sb3_contrib", "rl_zoo3", "torch", "gymnasium"),
    *("gymnasium_robotics", "mujoco", "minari", "d3rlpy"),
)

Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find_row(path: Path, key: Row) -> Row | None:
    """The first row of a CSV file that has these values, whatever commit it is of; None if there is none."""
    return next((row for row in read_rows(path) if key.items() <= row.items()), None)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """
    Append a row to a CSV file that other processes append to as well; the first one writes the header.

    :raises ValueError: when the file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_folder(path.parent):
        check_columns(path, list(row))
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse a CSV file that has other columns; one that is not there has none."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            found = next(csv.reader(file), [])
        if found != list(columns):
            raise ValueError(f"{path} has other columns: {', '.join(found)}")


def provenance() -> dict[str, str]:
    """Commit, versions and date of a result."""
    return {"commit": commit(), "versions": versions(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def commit() -> str:
    """Hash of the checked-out commit, with "-dirty" if the code differs, which results do not; empty outside of git."""
    git = ["git", "-C", str(ROOT)]
    status = ["status", "--porcelain", "--", "sb3_gac", "benchmarks", "pyproject.toml", ":(exclude)benchmarks/results"]
    try:
        head, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], status)
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}-dirty" if changes else head


def versions() -> str:
    """Versions of the installed packages that a result depends on."""
    found = [package for package in PACKAGES if importlib.util.find_spec(package)]
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in found)


def from_root(path: Path) -> Path:
    """A path as a job sees it, which starts from the root of the checkout, and as short as that allows for the record."""
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    Rows as a Markdown table whose columns line up.

    :param rows: All with the same keys, which are the columns; floats are shown with one decimal, NaN as nothing.
    """
    columns = list(rows[0])
    cells = [[_format(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]

    def join(line: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    return "\n".join([join(columns), join(["-" * width for width in widths]), *map(join, cells)])


def _format(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.1f}"
    return str(value)
