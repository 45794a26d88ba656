"""Files that are there whole or not at all."""

import glob
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
# Seconds after which what nobody has written to belongs to a process that was killed
LEFTOVER_AGE = 600


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """
    Yield a file to write beside another, which takes its place once it is complete.

    Whoever is interrupted while writing, or fails, leaves the old file as it was. Of several who write at once, the last to
    finish leaves a whole file. What killed processes have left of theirs is removed.

    :param path: The file to replace or to make, or a link to it.
    """
    path = path.resolve()
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError):  # another process removes it, too
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                leftover.unlink()
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def file_to_save(path: str | Path, suffix: str) -> Path:
    """
    The file that SB3 writes when it is told to save under a path: where that is a folder, one beside it, with a warning.

    :param path: The path; it need not have a suffix.
    :param suffix: Suffix of the file without the dot, where the path has none.
    """
    path = Path(path)
    if not path.suffix:
        path = path.with_name(f"{path.name}.{suffix}")
    if path.is_dir():
        warnings.warn(f"{path} is a folder: saving to {path}_2 instead", stacklevel=3)
        path = path.with_name(f"{path.name}_2")
    return path
