"""HDF5 files of anyone: what is read stands in the file itself, and is not much larger than it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sb3_gac.data.trajectory import Array
from sb3_gac.extra import require

# Bytes that may come of a file: compressed zeros are a thousandth of what they stand for, recordings a tenth at best
ALWAYS_ALLOWED, MAX_RATIO = 2**26, 100
CHUNK_OVERHEAD = 4096  # bytes that the library takes for each chunk while it reads


class Hdf5File:
    """
    The data sets of an HDF5 file.

    :param file: The ``h5py.File``.
    :raises ValueError: when a name in it leads elsewhere: a soft or external link, or a second name of something.
    """

    def __init__(self, file: Any) -> None:
        import h5py

        self.names = set(file)  # of what stands at the top
        self._file = file
        self._size = Path(file.filename).stat().st_size
        self._left = max(ALWAYS_ALLOWED, MAX_RATIO * self._size)
        known = {h5py.h5o.get_info(file.id).addr}

        def leads_elsewhere(name: bytes, link: Any) -> bytes | None:
            # A hard link has the address of what it names: a second one would count twice, or be the group that it is in
            if link.type != 0 or link.u in known:
                return name
            known.add(link.u)
            return None

        if (name := file.id.links.visit(leads_elsewhere, info=True)) is not None:
            raise ValueError(f"the field {name.decode('utf-8', 'replace')!r} is a link, expected data in the file itself")

    def __getitem__(self, name: str) -> Any:
        """
        The data set of a name, not yet read.

        :param name: Its path in the file.
        :raises ValueError: when there is none, or its values stand in other files.
        """
        import h5py

        found = self._file.get(name)
        if not isinstance(found, h5py.Dataset):
            group = found if isinstance(found, h5py.Group) else self._file
            raise ValueError(f"the field {name!r} is missing, there are {sorted(group)[:20]}")
        if found.is_virtual or found.id.get_create_plist().get_external_count() > 0:
            raise ValueError(f"the values of {name!r} stand in another file, expected them in this one")
        return found

    def keys(self, name: str) -> set[str]:
        """
        Names in a group; none where there is no such group.

        :param name: Its path in the file.
        """
        import h5py

        found = self._file.get(name)
        return set(found) if isinstance(found, h5py.Group) else set()

    def read(self, name: str) -> Array:
        """
        Read an array of numbers.

        :param name: Its path in the file.
        :raises ValueError: when it holds something else, or claims to be much larger than the file.
        """
        dataset = self[name]
        if dataset.dtype.kind not in "biuf":
            raise ValueError(f"{name} have dtype {dataset.dtype}, numbers are needed")
        shape, chunks, itemsize = dataset.shape or (), dataset.chunks or (), dataset.dtype.itemsize
        n_chunks = math.prod(math.ceil(n / size) for n, size in zip(shape, chunks, strict=False))
        self.spend(name, shape, max(math.prod(shape) * itemsize, math.prod(chunks) * itemsize, n_chunks * CHUNK_OVERHEAD))
        return np.asarray(dataset[()])

    def spend(self, name: str, shape: tuple[int, ...], n_bytes: int) -> None:
        """
        Count memory that is about to be taken.

        :param name: What it is taken for.
        :param shape: Shape of the array.
        :param n_bytes: How much.
        :raises ValueError: when it comes to much more than the file.
        """
        self._left -= n_bytes
        if self._left < 0:
            raise ValueError(
                f"{name} claims the shape {shape} in a file of {self._size:,} bytes, "
                f"expected no more than {max(ALWAYS_ALLOWED, MAX_RATIO * self._size):,} bytes of data in all"
            )


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5File]:
    """
    Open a file to read.

    :param path: The file.
    :raises ValueError: when it is not a whole HDF5 file.
    """
    require("data", "h5py")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield Hdf5File(file)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as error:  # of its library, in what is damaged
        raise ValueError(f"not a readable HDF5 file, it may be truncated: {error}") from error
