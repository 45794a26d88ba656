"""Files and folders that are there whole or not at all."""

import os
import platform
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

# Of what is being written: the host, the process and a name that nobody else draws
_HOST = re.sub(r"\W", "-", platform.node())
_PARTIAL = re.compile(rf"\..+\.{re.escape(_HOST)}_(\d+)_[0-9a-f]{{32}}\.partial")


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """
    Yield a path beside another, for a file or a folder that takes the place of the other once it is complete.

    Whoever is interrupted while writing, or fails, leaves the old one as it was; what a killed process has left is removed.

    :param path: The file or the folder to make; a file that is there is replaced. A link stays, what it leads to is replaced.
    :raises OSError: when there is a folder that is not empty.
    """
    path = path.resolve()
    for leftover in path.parent.glob(".*.partial"):
        if _is_abandoned(leftover.name):
            _remove(leftover)
    partial = _partial(path)
    try:
        yield partial
        for part in (*partial.rglob("*"), partial):
            _sync(part)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        _remove(partial)


def discard(path: Path) -> None:
    """
    Remove a file or a folder, of which nothing half removed ever bears its name.

    :param path: The file or the folder.
    """
    partial = _partial(path)
    os.rename(path, partial)
    _remove(partial)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """
    Keep other processes and threads that ask for it out of a folder; a kill lets go of it.

    Nobody waits on Windows, nor where the file system knows no locks.

    :param folder: The folder.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_HOST}_{os.getpid()}_{uuid4().hex}.partial")


def _is_abandoned(name: str) -> bool:
    """Whether the process that was writing is gone; of other hosts nobody knows."""
    match = _PARTIAL.fullmatch(name)
    if match is None or os.name == "nt":  # there a signal of 0 is none
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
