"""Replay buffers in files: pickles, of which nothing is called but what a replay buffer is made of."""

import collections
import io
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.save_util import open_path

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import REAL_DTYPES
from sb3_gac.data.table import RECORD, TrajectoryTable
from sb3_gac.data.trajectory import Array


class _Record:
    """Stands for the dtype of the table while it is read: NumPy would believe any offsets that a file gives it."""

    def __setstate__(self, state: Any) -> None:
        expected = RECORD.__reduce__()[2]
        if state[1:5] != expected[1:5]:
            raise ValueError(f"its table has the columns {str(state[3])[:200]}, expected {RECORD.names}")


def _dtype(name: str, *_: Any) -> Any:
    if name == RECORD.str.lstrip("|"):
        return _Record()
    if (dtype := np.dtype(name)).name not in REAL_DTYPES:
        raise ValueError(f"it has an array of {name!r}, expected numbers")
    return dtype


def _empty_array(*_: Any) -> Array:
    return np.ndarray((0,), np.int8)  # NumPy gives it shape and content


def _array(content: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Array:
    dtype = RECORD if isinstance(dtype, _Record) else dtype
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _scalar(dtype: Any, content: bytes) -> Any:
    return np.frombuffer(content, dtype)[0]


# What files name, and what is called for it
_NAMES: dict[str, Any] = {
    "numpy.dtype": _dtype,
    "numpy.ndarray": "numpy.ndarray",  # an argument of the following, which do without
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.numeric._frombuffer": _array,
    "numpy._core.multiarray.scalar": _scalar,
    "collections.OrderedDict": collections.OrderedDict,
    "torch.device": th.device,
}
_CLASSES = (
    *(TrajectoryReplayBuffer, TrajectoryTable),
    *(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Dict),
    *(ReplayBuffer, DictReplayBuffer),  # to say that they are the wrong ones
)
# The random numbers of spaces
_RANDOM = (
    *("numpy.random._pickle.__generator_ctor", "numpy.random._pickle.__bit_generator_ctor", "numpy.random._pcg64.PCG64"),
    *("numpy.random.bit_generator.SeedSequence", "numpy.random.bit_generator.__pyx_unpickle_SeedSequence"),
)


class _Unpickler(pickle.Unpickler):
    """
    Unpickler of replay buffers.

    :param file: The open file.
    :param classes: Classes of the caller's own that they may be made of.
    """

    def __init__(self, file: Any, classes: Iterable[type]) -> None:
        super().__init__(file)
        self._known = _NAMES | {f"{cls.__module__}.{cls.__qualname__}": cls for cls in (*_CLASSES, *classes)}

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        full = f"{module}.{name}".replace("numpy.core.", "numpy._core.")
        if full in _RANDOM:
            return super().find_class(module, name)  # type: ignore[no-any-return]
        if full not in self._known:
            raise ValueError(f"it names {full}, which is no part of a replay buffer")
        return self._known[full]  # type: ignore[no-any-return]


def read_buffer(path: str | Path | io.BufferedIOBase, verbose: int = 0, classes: Iterable[type] = ()) -> Any:
    """
    Read what :meth:`~sb3_gac.gac.GAC.save_replay_buffer` has written; no other code that the file names runs.

    :param path: Path of the pickle, with or without its suffix, or an open file.
    :param verbose: 2 tells of the path that was opened.
    :param classes: Classes of your own that the buffer may be made of, beside those of this package, NumPy and Gymnasium.
    :raises ValueError: naming the file and the class, when there is another one in it, or the file is damaged.
    """
    file = open_path(path, "r", verbose=verbose, suffix="pkl")
    try:
        return _Unpickler(file, classes).load()
    except Exception as error:  # a damaged pickle can raise each of them
        raise ValueError(f"{getattr(file, 'name', path)} is not the file of a replay buffer: {error!r}") from error
    finally:
        if isinstance(path, str | Path):
            file.close()
