"""Replay buffers in files: arrays in the layout of safetensors, with a checksum. Nothing of them is code."""

import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.save_util import open_path

from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import check_array, space_items
from sb3_gac.data.table import RECORD, TrajectoryTable
from sb3_gac.data.trajectory import Array, check_finite, error_context

SUFFIX = "safetensors"
FORMAT = "sb3_gac replay buffer 1"
# What the header says of the buffer
NUMBERS = ("n_envs", "buffer_size", "n_rows", "n_trajectories", "first_id")
MAX_HEADER_BYTES = 2**20
MAX_NUMBER = 2**60  # sums of two are integers of 64 bits
CHECKED_ROWS = 4096  # rows whose values are checked at once
_CODES = {
    **{f"{sign}int{bits}": f"{sign.upper() or 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "bool": "BOOL",
}


def write_buffer(path: str | Path | io.BufferedIOBase, buffer: TrajectoryReplayBuffer) -> None:
    """
    Write the trajectories of a replay buffer, the open ones included.

    :param path: Path of the file, or an open file.
    :param buffer: The buffer; what a class of your own adds to it is not written.
    """
    records = buffer._table.alive
    arrays = {name: array[: buffer.size()] for name, array in buffer._arrays().items()}
    arrays |= {"open": buffer._open, **{name: np.ascontiguousarray(records[name]) for name in RECORD.names or ()}}
    arrays |= _bounds(buffer.action_space)
    counts = buffer.n_envs, buffer.buffer_size, buffer.n_rows, len(records), buffer._table.first_id
    numbers = dict(zip(NUMBERS, counts, strict=True))
    header = _header(numbers, {name: (array.dtype, array.shape) for name, array in arrays.items()})
    header["__metadata__"]["sha256"] = _digest(header, arrays.values())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of eight bytes
    file = open_path(path, "w")
    try:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(_bytes(array).data)
    finally:
        if file is not path:
            file.close()


def read_buffer(
    path: str | Path | io.BufferedIOBase, template: TrajectoryReplayBuffer, verbose: int = 0
) -> TrajectoryReplayBuffer:
    """
    Read what :func:`write_buffer` has written.

    Memory is taken for no more than the file holds and a buffer of the template's size. Trajectories of another number of
    envs, or of a buffer of another size, are rearranged; those that find no room are lost with a warning.

    :param path: Path of the file, with or without its suffix, or an open file.
    :param template: A buffer of the same class, spaces, capacity and number of envs; it stays as it is.
    :param verbose: 2 tells of the path that was opened.
    :return: Another buffer like it, with the trajectories of the file.
    :raises ValueError: naming the file and what is wrong with it: it is damaged, no replay buffer or one of other spaces.
    """
    file = open_path(path, "r", verbose=verbose, suffix=SUFFIX)
    try:
        with error_context(f"{getattr(file, 'name', path)} is not a replay buffer that can be loaded"):
            buffer = _read(file, template)
    finally:
        if file is not path:
            file.close()
    if (buffer.buffer_size, buffer.n_envs) != (template.buffer_size, template.n_envs):
        buffer.set_n_envs(template.n_envs)
    return buffer


def _read(file: Any, template: TrajectoryReplayBuffer) -> TrajectoryReplayBuffer:
    header = _read_header(file)
    numbers = _check_numbers(header["__metadata__"])
    n_rows, n_records = numbers["n_rows"], numbers["n_trajectories"]
    size = min(n_rows, numbers["buffer_size"])
    buffer: TrajectoryReplayBuffer = type(template).__new__(type(template))  # a copy would have all its rows
    vars(buffer).update(vars(template))
    buffer.n_envs = numbers["n_envs"]
    # A ring that nothing was overwritten in may be of any size
    buffer.buffer_size = template.buffer_size if size == n_rows <= template.buffer_size else max(size, 1)

    rows = {n: (a.dtype, (size, buffer.n_envs, *a.shape[2:])) for n, a in template._arrays().items()}
    of_table = {name: (RECORD[name], (n_records,)) for name in RECORD.names or ()}
    bounds = _bounds(template.action_space)
    fields = {**rows, "open": (np.dtype(np.int64), (buffer.n_envs,)), **of_table}
    fields |= {name: (array.dtype, array.shape) for name, array in bounds.items()}
    digest = header["__metadata__"].pop("sha256", None)
    _check_header(header, _header(numbers, fields))
    n_bytes, left = sum(math.prod(shape) * dtype.itemsize for dtype, shape in fields.values()), _bytes_left(file)
    if n_bytes != left:
        raise ValueError(f"{left:,} bytes follow its header, expected {n_bytes:,}: it is cut short or damaged")

    buffer.reset()
    if size > 0:
        buffer._set_arrays(allocate=True)
    arrays = {name: array[:size] for name, array in buffer._arrays().items()}
    arrays |= {name: np.empty(shape, dtype) for name, (dtype, shape) in fields.items() if name not in rows}
    for array in arrays.values():
        if array.size > 0:
            file.readinto(_bytes(array))
    if _digest(header, arrays.values()) != digest:
        raise ValueError("its content is not what was written: the checksums differ")

    for name, array in bounds.items():
        if not np.array_equal(arrays[name], array):
            raise ValueError(f"{name} is {arrays[name]}, that of the actions here is {array}")
    _check_rows(buffer, size)
    records = np.zeros(n_records, dtype=RECORD)
    for name in RECORD.names or ():
        records[name] = arrays[name]
    _check_records(records, arrays["open"], numbers)
    buffer._table, buffer._open = TrajectoryTable(records, numbers["first_id"]), arrays["open"]
    buffer._advance(n_rows)
    return buffer


def _header(numbers: dict[str, int], fields: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> dict[str, Any]:
    """The header of safetensors, whose metadata are strings, without the checksum."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, **{name: str(number) for name, number in numbers.items()}}}
    end = 0
    for name, (dtype, shape) in fields.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _CODES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
    return header


def _read_header(file: Any) -> dict[str, Any]:
    n_bytes, left = int.from_bytes(file.read(8), "little"), _bytes_left(file)
    if not 2 <= n_bytes <= min(left, MAX_HEADER_BYTES):
        raise ValueError(f"its header has {n_bytes:,} bytes, expected at most {min(left, MAX_HEADER_BYTES):,}")
    try:
        header = json.loads(file.read(n_bytes))
    except (ValueError, RecursionError) as error:
        raise ValueError("its header is no JSON") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not (isinstance(metadata, dict) and metadata.get("format") == FORMAT):
        raise ValueError(f"its header does not say {FORMAT!r}")
    return header  # type: ignore[no-any-return]


def _check_numbers(metadata: dict[str, Any]) -> dict[str, int]:
    numbers = {}
    for name in NUMBERS:
        given, least = metadata.get(name), int(name in ("n_envs", "buffer_size"))
        if not (isinstance(given, str) and given.isdecimal() and len(given) < 20 and least <= int(given) <= MAX_NUMBER):
            raise ValueError(f"{name} is {str(given)[:100]!r}, expected a whole number from {least} to {MAX_NUMBER}")
        numbers[name] = int(given)
    return numbers


def _check_header(header: dict[str, Any], expected: dict[str, Any]) -> None:
    if header.keys() != expected.keys():
        raise ValueError(f"it has the arrays {str(sorted(header))[:500]}, expected {sorted(expected)}")
    for name, given in header.items():
        if given != expected[name]:
            raise ValueError(f"{name} is {str(given)[:200]}, expected {expected[name]}")


def _check_rows(buffer: TrajectoryReplayBuffer, size: int) -> None:
    """Refuse values that nothing can be learnt from, a part of the rows at a time."""
    known = {**dict(space_items(buffer.observation_space)), "actions": buffer.action_space}
    for start in range(0, size, CHECKED_ROWS):
        for name, array in buffer._arrays().items():
            steps = array[start : min(start + CHECKED_ROWS, size)].reshape(-1, *array.shape[2:])
            # The advantages of new steps are not known
            check_finite(name, np.where(np.isnan(steps), 0, steps) if name == "advantages" else steps)
            if name in known and not isinstance(known[name], spaces.Box):
                check_array(name, steps, known[name])
            is_flag = name in ("dones", "timeouts")
            if (is_flag and not np.isin(steps, (0, 1)).all()) or (name == "weights" and (steps < 0).any()):
                raise ValueError(f"{name} are {steps.min()} to {steps.max()}, which cannot be")


def _check_records(records: Array, open_ids: Array, numbers: dict[str, int]) -> None:
    """Trajectories lie in the rows of their columns, one after another, and those that are open are not closed."""
    columns, starts, lengths, n_rows = records["column"], records["start"], records["length"], numbers["n_rows"]
    is_right = (0 <= columns) & (columns < numbers["n_envs"]) & np.isfinite(records["episode_return"])
    is_right &= (max(n_rows - numbers["buffer_size"], 0) <= starts) & (starts <= n_rows)
    is_right &= (records["closed"] <= lengths) & (lengths <= n_rows - starts) & (records["closed"].view(np.uint8) <= 1)
    is_right[1:] &= starts[:-1] <= starts[1:]
    order = np.lexsort((starts, columns))
    before, after = order[:-1], order[1:]
    is_right[after] &= (columns[before] != columns[after]) | (starts[before] + lengths[before] <= starts[after])
    if not is_right.all():
        index = int(np.argmin(is_right))
        given = {name: records[name][index].item() for name in RECORD.names or ()}
        raise ValueError(f"trajectory {index} cannot be: {given}")
    envs = np.flatnonzero(open_ids != -1)
    indices = open_ids[envs] - numbers["first_id"]
    is_known = ((indices >= 0) & (indices < len(records))).all()
    if not is_known or records["closed"][indices].any() or (columns[indices] != envs).any():
        raise ValueError(f"the trajectories {open_ids[envs][:20]} are not open")


def _bounds(space: spaces.Space[Any]) -> dict[str, Array]:
    """What actions in [-1, 1] stand for."""
    return {"action_low": space.low, "action_high": space.high} if isinstance(space, spaces.Box) else {}


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def _bytes_left(file: io.BufferedIOBase) -> int:
    position = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(position)
    return end - position


def _digest(header: dict[str, Any], arrays: Any) -> str:
    """SHA-256 of a header without the checksum, and of arrays."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for array in arrays:
        digest.update(_bytes(array).data)
    return digest.hexdigest()
