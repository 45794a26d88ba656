"""What made a number: command, commit and versions, kept beside every result."""

import csv
import importlib.metadata
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("stable-baselines3", "torch", "gymnasium", "gymnasium-robotics", "mujoco", "minari", "numpy")


def provenance() -> dict[str, str]:
    """The command that is running, the commit of its source, and the versions of all that bears on a result."""
    import sb3_gac

    return {
        "command": command(),
        "commit": commit(),
        "python": platform.python_version(),
        "sb3_gac": sb3_gac.__version__,
        **{package.replace("-", "_"): _version(package) for package in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def command() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def commit() -> str:
    """Hash of the checked-out commit, with ``+changes`` if files under version control differ; empty outside of git."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], append: bool = False) -> None:
    """
    Write rows to a CSV file with a header.

    :param path: the file; its folder is made.
    :param rows: all with the same keys, which are the columns.
    :param append: keep the rows that are there.
    :raises ValueError: when the file that is there has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(rows[0])
    is_new = not (append and path.exists())
    if not is_new:
        with path.open(newline="", encoding="utf-8") as file:
            found = next(csv.reader(file), [])
        if found != columns:
            raise ValueError(f"{path} has other columns: {', '.join(found)}")
    with path.open("w" if is_new else "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    Rows as a Markdown table whose columns line up.

    :param rows: all with the same keys, which are the columns; floats are shown with one decimal, NaN as nothing.
    """
    columns = list(rows[0])
    cells = [[_format(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]

    def join(line: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    return "\n".join([join(columns), join(["-" * width for width in widths]), *map(join, cells)])


def format_range(low: float, high: float) -> str:
    """
    An interval, with one decimal; nothing if its ends are NaN.

    :param low: lower end.
    :param high: upper end.
    """
    return "" if math.isnan(low) else f"{low:.1f} to {high:.1f}"


def _format(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.1f}"
    return str(value)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
