"""
Change files at random, read them, and count what comes of it.

    python -m tests.fuzz --cases 300 --seed 1
"""

import argparse
import collections
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch as th

from tests.fuzz.run import GOOD, fuzz


def main() -> None:
    """Run the cases, and exit with 1 when one of them went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100, help="cases of each kind of file (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", help="kinds of files (default: all)")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        counts: collections.Counter[tuple[str, str]] = collections.Counter()
        for kind, case, done, text in fuzz(Path(folder), given.cases, given.seed, given.kinds):
            counts[kind, text.partition(":")[0]] += 1
            if text not in GOOD:
                print(f"{kind} {case}: {done}: {text}", flush=True)
    for (kind, text), count in sorted(counts.items()):
        print(f"{kind:20} {text:24} {count}")
    sys.exit(any(text not in GOOD for _, text in counts))


if __name__ == "__main__":
    main()
