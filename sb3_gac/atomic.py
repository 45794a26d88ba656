"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """
    Yield a file to write beside another, which takes its place once it is complete.

    Whoever is interrupted while writing, or fails, leaves the old file as it was.

    :param path: The file to replace or to make, or a link to it.
    """
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
