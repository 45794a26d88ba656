"""Minari data sets, by id or by path."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sb3_gac.data.space import check_spaces, check_supported
from sb3_gac.data.trajectory import Trajectory, error_context, map_observations


def load_minari(data: Any, return_only: bool = False) -> list[Trajectory]:
    """
    Load the trajectories of a Minari data set.

    The observation after the last action is dropped. An episode that neither terminated nor was truncated, as when a
    recording was stopped, counts as truncated.

    :param data: Id of a data set, which Minari downloads if it is not installed; path of a data set directory;
        or a ``minari.MinariDataset``, which may be filtered.
    :param return_only: Keep nothing of the rewards but each trajectory's return, at its last step.
    :return: The trajectories in the order of the data set.
    :raises FileNotFoundError: when the data set is not installed and cannot be downloaded.
    :raises ImportError: when Minari or h5py is missing.
    :raises ValueError: naming data set, trajectory and step, when the data set is corrupt or empty, its spaces are
        not supported, a value is not finite, or shapes, dtypes or actions do not fit its spaces.
    """
    dataset = open_minari(data)
    with _reading(_name(dataset)):
        check_supported(dataset.observation_space, dataset.action_space)
        trajectories = [_trajectory(index, episode) for index, episode in enumerate(dataset.iterate_episodes())]
    check_spaces(trajectories, dataset.observation_space, dataset.action_space, source=_name(dataset))
    return [trajectory.return_only() for trajectory in trajectories] if return_only else trajectories


def open_minari(data: Any) -> Any:
    """
    Open a Minari data set without reading its episodes.

    :param data: As for :func:`load_minari`.
    :return: The ``minari.MinariDataset``.
    """
    if is_minari(data):
        return data
    try:
        import minari

        path = Path(data)
        if path.is_dir():
            # An installed data set keeps its files in a sub-folder
            with _reading(str(path)):
                return minari.MinariDataset(path / "data" if (path / "data").is_dir() else path)
        with _reading(str(data)):
            try:
                return minari.load_dataset(str(data))
            except FileNotFoundError:
                pass
        return _download(str(data))
    except ImportError as error:
        raise ImportError('Minari data sets need minari and h5py: pip install "sb3-gac[data]"') from error


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
        except (OSError, KeyError, AssertionError, json.JSONDecodeError) as error:
            raise ValueError(f"the data set cannot be read, it may be truncated: {error!r}") from error


def _download(dataset_id: str) -> Any:
    import minari

    try:
        return minari.load_dataset(dataset_id, download=True)
    except ImportError:
        raise
    except Exception as error:  # Minari lets errors of several network libraries through
        raise FileNotFoundError(
            f"Minari data set {dataset_id!r} is not installed and could not be downloaded: {error}"
        ) from error


def _name(dataset: Any) -> str:
    return str(dataset.spec.dataset_id)


def _trajectory(index: int, episode: Any) -> Trajectory:
    n_steps = len(episode.rewards)
    with error_context(f"trajectory {index}"):
        terminated = bool(np.any(episode.terminations[-1:]))
        return Trajectory(
            observations=map_observations(lambda array: np.asarray(array)[:n_steps], episode.observations),
            actions=np.asarray(episode.actions),
            rewards=np.asarray(episode.rewards),
            terminated=terminated,
            truncated=bool(np.any(episode.truncations[-1:])) or not terminated,
        )
