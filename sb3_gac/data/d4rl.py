"""Data sets in the layout of D4RL: one flat HDF5 file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_gac.data.space import check_spaces, infer_spaces
from sb3_gac.data.trajectory import Array, Trajectory, check_finite, discontinuities, error_context, split_trajectories


def load_d4rl(path: str | Path, return_only: bool = False) -> list[Trajectory]:
    """
    Load the trajectories of a D4RL file.

    The file holds ``observations``, ``actions`` (env units), ``rewards``, ``terminals`` and, as a rule, ``timeouts``.
    Without ``timeouts`` a trajectory ends at a terminal, and where ``next_observations`` (if there) does not
    continue with the following row.

    :param path: The ``.hdf5`` file.
    :param return_only: Keep nothing of the rewards but each trajectory's return, at its last step.
    :return: The trajectories in the order of the file; an unfinished last one is left out.
    :raises FileNotFoundError: when there is no such file.
    :raises ImportError: when h5py is missing.
    :raises ValueError: naming file, trajectory and step, when the file is corrupt or empty, a field is missing or
        of the wrong shape, no episode end can be told, a value is not finite or an action is out of bounds.
    """
    trajectories, _ = read_d4rl(path)
    return [trajectory.return_only() for trajectory in trajectories] if return_only else trajectories


def read_d4rl(path: str | Path) -> tuple[list[Trajectory], tuple[spaces.Space[Any], spaces.Space[Any]]]:
    """
    Trajectories of a D4RL file, and the observation and action space that they fit.

    The spaces are those of the env named by the attribute ``env_id`` where it is registered and has the shapes of the file;
    else an unbounded box for observations and [-1, 1] for actions.

    :param path: See :func:`load_d4rl`, also for what is raised.
    """
    with _open(path) as file:
        observations, actions = _read(file, "observations"), _read(file, "actions")
        rewards, terminals = (_flat(_read(file, name), name) for name in ("rewards", "terminals"))
        n_steps = len(rewards)
        if n_steps == 0:
            raise ValueError("the file holds no step")
        terminated, truncated = _as_flags(terminals, "terminals"), np.zeros(n_steps, dtype=np.bool_)
        if "timeouts" in file:
            truncated = _as_flags(_flat(_read(file, "timeouts"), "timeouts"), "timeouts")
        next_observations = _read(file, "next_observations") if "next_observations" in file else None
        has_timeouts = "timeouts" in file

        for name, array in {"observations": observations, "actions": actions, "terminals": terminals}.items():
            _check_length(name, array, n_steps)
        _check_length("timeouts", truncated, n_steps)
        if next_observations is not None and not has_timeouts:
            _check_length("next_observations", next_observations, n_steps)
            truncated = discontinuities(observations, next_observations) & ~terminated
        if not (terminated | truncated).any():
            raise ValueError("no episode end anywhere: neither a terminal nor a timeout, nor a jump between observations")
        trajectories = split_trajectories(observations, actions, rewards, terminated, truncated)
        env_id = file.attrs.get("env_id")
    known_spaces = _spaces(observations, actions, env_id)
    check_spaces(trajectories, *known_spaces, source=str(path))
    return trajectories, known_spaces


def _spaces(observations: Array, actions: Array, env_id: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    inferred = infer_spaces(observations, actions)
    registered = _env_spaces(env_id) if isinstance(env_id, str) else inferred
    observation_space, action_space = (
        env_space if env_space.shape == space.shape else space for env_space, space in zip(registered, inferred, strict=True)
    )
    return observation_space, action_space


def _env_spaces(env_id: str) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    nothing = spaces.Dict(), spaces.Dict()  # no space has the shape None
    if env_id not in gym.registry:  # gym.make would import what stands before a colon: whoever made the file would run code
        return nothing
    try:
        env = gym.make(env_id)
    except (gym.error.Error, ImportError):  # its simulator is not installed
        return nothing
    env.close()
    return env.observation_space, env.action_space


@contextmanager
def _open(path: str | Path) -> Iterator[Any]:
    """The HDF5 file, whose name goes with every complaint about it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError('D4RL files need h5py: pip install "sb3-gac[data]"') from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"No such file: {path}")
    with error_context(str(path)):
        try:
            with h5py.File(path, "r") as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise ValueError(f"not a readable HDF5 file, it may be truncated: {error}") from error


def _read(file: Any, name: str) -> Array:
    if name not in file or not hasattr(file[name], "dtype"):
        raise ValueError(f"the field {name!r} is missing, there are {sorted(file)}")
    return np.asarray(file[name][()])


def _flat(array: Array, name: str) -> Array:
    """Values of shape ``(n_steps,)``, which some files hold as ``(n_steps, 1)``."""
    if array.shape[1:] not in [(), (1,)] or array.ndim == 0:
        raise ValueError(f"{name} must have shape (n_steps,), not {array.shape}")
    return array.reshape(-1)


def _as_flags(values: Array, name: str) -> Array:
    check_finite(name, values)  # NaN would be an end of an episode
    return values.astype(np.bool_)


def _check_length(name: str, array: Array, n_steps: int) -> None:
    if array.shape[:1] != (n_steps,):
        raise ValueError(f"{name} of shape {array.shape} beside {n_steps} rewards: one row per step is needed")
