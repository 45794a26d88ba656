"""Minari data sets, by id or by path."""

import io
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_gac.data.hdf5 import Hdf5File, open_hdf5
from sb3_gac.data.space import MAX_ACTIONS, REAL_DTYPES, check_spaces, check_supported
from sb3_gac.data.trajectory import (
    Array,
    Trajectory,
    as_flags,
    error_context,
    map_observations,
    observation_items,
)
from sb3_gac.extra import require

METADATA_FILE, DATA_FILE = "metadata.json", "main_data.hdf5"
MAX_METADATA_BYTES = 64 * 2**20
# Minari builds the environment that the file names where a space is missing: whatever the file says would run
_NEEDED = {"observation_space": str, "action_space": str, "data_format": str, "total_episodes": int}
_SIZES = {"Box": "shape", "Discrete": "n", "MultiDiscrete": "nvec", "MultiBinary": "n"}


def read_minari(data: Any) -> tuple[list[Trajectory], Any]:
    """
    Trajectories of a Minari data set in its order, and the ``minari.MinariDataset``.

    The observation after the last action is dropped. An episode that neither terminated nor was truncated, as when a
    recording was stopped, counts as truncated. An environment that the files name is not built, and nothing is read
    but the files of the data set.

    :param data: Id of a data set, which Minari downloads if it is not installed; path of a data set directory;
        or a ``minari.MinariDataset``, which may be filtered.
    :raises FileNotFoundError: when the data set is not installed and cannot be downloaded.
    :raises ImportError: when Minari or h5py is missing.
    :raises ValueError: naming data set, trajectory and step, when the data set is corrupt or empty, its spaces are
        missing or not supported, a value is not finite, or shapes, dtypes or actions do not fit its spaces.
    """
    dataset = open_minari(data)
    with _reading(str(dataset.id if is_minari(data) else data)):
        check_supported(dataset.observation_space, dataset.action_space)
        trajectories = [_trajectory(index, fields) for index, fields in enumerate(_episodes(dataset))]
        check_spaces(trajectories, dataset.observation_space, dataset.action_space)
    return trajectories, dataset


def open_minari(data: Any) -> Any:
    """
    Open a Minari data set without reading its episodes.

    :param data: As for :func:`read_minari`.
    :return: The ``minari.MinariDataset``.
    :raises FileNotFoundError: when it is not installed and cannot be downloaded.
    :raises ValueError: when its description is damaged, or lacks a space: ``minari.MinariDataset(path)`` would build the
        environment that the files name, for those who trust them.
    """
    if is_minari(data):
        return data
    require("data", "minari", "h5py", "PIL")
    import minari
    from minari.storage import get_dataset_path

    path = Path(data)
    if not path.is_dir():
        with error_context(str(data)):
            path = Path(get_dataset_path(str(data)))
        if not (path / "data").is_dir():
            _download(str(data))
    # An installed data set keeps its files in a sub-folder
    folder = path / "data" if (path / "data").is_dir() else path
    with _reading(str(data)):
        check_metadata(folder)
        return minari.MinariDataset(folder)


def check_metadata(folder: Path) -> None:
    """
    Refuse a description that Minari would build an environment for, or take memory for that the data set does not need.

    :param folder: Folder of the files.
    :raises ValueError: naming the file, the key, what it is and what it must be.
    """
    file = folder / METADATA_FILE
    if not file.is_file():
        raise ValueError(f"No data found: {file} is missing")
    with error_context(METADATA_FILE):
        if file.stat().st_size > MAX_METADATA_BYTES:
            raise ValueError(f"larger than {MAX_METADATA_BYTES:,} bytes")
        metadata = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(metadata, dict):
            raise ValueError(f"{str(metadata)[:200]} is no object")
        for key, kind in _NEEDED.items():
            if type(metadata.get(key)) is not kind:
                given = f"{str(metadata[key])[:200]!r}" if key in metadata else "missing"
                raise ValueError(f"{key} is {given}, expected a {kind.__name__}")
        if metadata["data_format"] != "hdf5":
            raise ValueError(f"data_format is {metadata['data_format']!r}, expected 'hdf5'")
        data_file = folder / DATA_FILE
        most = data_file.stat().st_size if data_file.is_file() else 0  # an episode takes more than a byte
        if not 0 <= metadata["total_episodes"] <= most:
            raise ValueError(f"total_episodes is {metadata['total_episodes']}, {DATA_FILE} has {most:,} bytes")
        for key in ("observation_space", "action_space"):
            if (n_values := _check_space(json.loads(metadata[key]), key)) > MAX_ACTIONS:
                raise ValueError(f"{key} has codes of {n_values:,} values, expected at most {MAX_ACTIONS:,}")


def _check_space(data: Any, name: str) -> int:
    """Whether Minari makes a space of this that is no larger than its text; how many values all its codes have."""
    kind = data.get("type") if isinstance(data, dict) else None
    if kind == "Dict" and isinstance(data.get("subspaces"), dict):
        return sum(_check_space(part, f"{name}[{key!r}]") for key, part in data["subspaces"].items())
    if not isinstance(kind, str) or kind not in _SIZES:
        raise ValueError(f"{name}: the space {str(kind)[:200]} is not supported")
    if data.get("dtype", "int64") not in REAL_DTYPES:
        raise ValueError(f"{name} has the dtype {str(data['dtype'])[:200]}, expected one of {', '.join(REAL_DTYPES)}")
    if kind == "Box":
        low, high = (list(np.shape(data.get(bound))) for bound in ("low", "high"))
        if not low == high == data.get("shape"):
            raise ValueError(f"{name} has the shape {str(data.get('shape'))[:200]}, its bounds have {low} and {high}")
        return 0
    sizes = np.ravel(data.get(_SIZES[kind]))
    if sizes.dtype.kind != "i" or (sizes < 0).any():
        raise ValueError(f"{name} has the sizes {str(sizes)[:200]}, expected whole numbers")
    return math.prod(sizes.tolist()) if kind == "MultiBinary" else sum(sizes.tolist())


def is_minari(data: Any) -> bool:
    """
    Whether this is a ``minari.MinariDataset``, told without importing Minari.

    :param data: Anything.
    """
    return hasattr(data, "iterate_episodes")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Whatever goes wrong with a file is said with the name of the data set."""
    with error_context(name):
        try:
            yield
        except (ImportError, ValueError):
            raise
        except Exception as error:  # Minari, Gymnasium and Pillow raise what they like
            raise ValueError(f"the data set cannot be read, it may be truncated: {error!r}") from error


def _download(dataset_id: str) -> None:
    from minari.storage import get_dataset_path, hosting

    root = Path(get_dataset_path(""))
    installed = [file.parent.parent.relative_to(root).as_posix() for file in root.rglob(f"data/{METADATA_FILE}")]
    nearest = get_close_matches(dataset_id, installed)
    hint = f"; installed are {', '.join(nearest)}" if nearest else ""
    if not re.search(r"-v\d+$", dataset_id):
        raise FileNotFoundError(
            f"{dataset_id!r} is neither a folder nor the id of a Minari data set, which ends with a version as in "
            f"'mujoco/hopper/medium-v0'{hint}"
        )
    try:
        hosting.download_dataset(dataset_id)
    except Exception as error:  # Minari lets errors of several network libraries through
        raise FileNotFoundError(
            f"Minari data set {dataset_id!r} is not installed and could not be downloaded: {error}{hint}"
        ) from error


def _episodes(dataset: Any) -> Iterator[dict[str, Any]]:
    """The fields of each episode that are needed; what else there is stays unread."""
    storage, has_jpegs = dataset.storage, dataset.storage.jpeg_encoding
    if storage.FORMAT != "hdf5":  # of a data set that the caller has opened
        yield from map(vars, dataset.iterate_episodes())
    elif len(dataset.episode_indices) > 0:
        with open_hdf5(Path(storage.data_path) / DATA_FILE) as file:
            if len(file.names) != storage.total_episodes:
                raise ValueError(
                    f"{METADATA_FILE} tells of {storage.total_episodes} episodes, {DATA_FILE} has {len(file.names)}"
                )
            for index in dataset.episode_indices:
                group = f"episode_{index}"
                yield {
                    "observations": _read(file, f"{group}/observations", dataset.observation_space, has_jpegs),
                    "actions": _read(file, f"{group}/actions", dataset.action_space, has_jpegs),
                    **{name: file.read(f"{group}/{name}") for name in ("rewards", "terminations", "truncations")},
                }


def _read(file: Hdf5File, name: str, space: spaces.Space[Any], has_jpegs: bool) -> Any:
    if isinstance(space, spaces.Dict):
        if unknown := file.keys(name) - space.spaces.keys():
            raise ValueError(f"the space has the keys {sorted(space.spaces)}, {name} has others: {sorted(unknown)}")
        return {key: _read(file, f"{name}/{key}", part, has_jpegs) for key, part in space.spaces.items()}
    from minari.dataset.minari_storage import is_image_space

    return _read_jpegs(file, name, space) if has_jpegs and is_image_space(space) else file.read(name)


def _read_jpegs(file: Hdf5File, name: str, space: spaces.Space[Any]) -> Array:
    from PIL import Image

    frames = file[name]
    shape = *frames.shape[:1], *(space.shape or ())
    file.spend(name, shape, math.prod(shape) + frames.nbytes)
    images = np.empty(shape, dtype=np.uint8)
    for step in range(len(images)):
        # No other format: Pillow runs Ghostscript for some
        with Image.open(io.BytesIO(np.asarray(frames[step], dtype=np.uint8).tobytes()), formats=["JPEG"]) as image:
            if (image.height, image.width) != shape[1:3]:  # known before it is unpacked
                raise ValueError(f"{name} at step {step} is an image of {image.height} x {image.width}, expected {shape[1:3]}")
            images[step] = np.asarray(image)
    return images


def _trajectory(index: int, fields: dict[str, Any]) -> Trajectory:
    with error_context(f"trajectory {index}"):
        n_steps = np.size(fields["rewards"])
        ends = {name: as_flags(name, np.asarray(fields[name])) for name in ("terminations", "truncations")}
        for name, flags in ends.items():
            if flags.shape != (n_steps,):
                raise ValueError(f"{name} of shape {flags.shape} beside {n_steps} rewards: one per step is needed")
            if flags[:-1].any():
                raise ValueError(f"{name} at step {np.argmax(flags)} are set, {n_steps - 1} is the last step")
        observations = map_observations(np.asarray, fields["observations"])
        is_terminated, is_truncated = (bool(flags[-1:].any()) for flags in ends.values())
        trajectory = Trajectory(
            observations=map_observations(lambda array: array[:n_steps], observations),
            actions=np.asarray(fields["actions"]),
            rewards=np.asarray(fields["rewards"]),
            terminated=is_terminated,
            truncated=is_truncated or not is_terminated,
        )
        for name, array in observation_items(observations):
            if len(array) > n_steps + 1:
                raise ValueError(f"{name} of shape {array.shape} beside {n_steps} rewards: one row more is needed")
        return trajectory
