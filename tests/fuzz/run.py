"""Cases of a fuzz run, each known by its kind, its number and the seed."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.fuzz.mutation import KINDS, make_files, mutate
from tests.fuzz.outcome import outcome

GOOD = ("refused", "read")


def fuzz(folder: Path, n_cases: int, seed: int = 0, kinds: Sequence[str] | None = None) -> Iterator[tuple[str, int, str, str]]:
    """
    Change files and read them.

    :param folder: An empty folder.
    :param n_cases: Cases of each kind.
    :param seed: Seed of the changes.
    :param kinds: Kinds of files, all by default.
    :return: For each case its kind, its number, what was done and what came of it.
    """
    good = folder / "good"
    good.mkdir()
    make_files(good)
    (good / "theirs.py").write_text(f"open({str(folder / 'work' / 'ran')!r}, 'w').close()\n")
    for kind in kinds or KINDS:
        for case in range(n_cases):
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(good, work)
            done, file, read = mutate(kind, work, np.random.default_rng([seed, case, KINDS.index(kind)]))
            yield kind, case, done, outcome(read, file, work)
