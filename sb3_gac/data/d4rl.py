"""Data sets in the layout of D4RL: one flat HDF5 file."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_gac.data.hdf5 import open_hdf5
from sb3_gac.data.space import check_spaces, infer_spaces
from sb3_gac.data.trajectory import Array, Trajectory, check_finite, discontinuities, error_context, split_trajectories


def load_d4rl(path: str | Path, return_only: bool = False, action_space: spaces.Space[Any] | None = None) -> list[Trajectory]:
    """
    Load the trajectories of a D4RL file.

    The file holds ``observations``, ``actions`` (env units), ``rewards``, ``terminals`` and, as a rule, ``timeouts``.
    Without ``timeouts``, or where none is set, a trajectory ends at a terminal, and where ``next_observations`` (if there)
    does not continue with the following row. An environment that the file names is not built.

    :param path: The ``.hdf5`` file.
    :param return_only: Keep nothing of the rewards but each trajectory's return, at its last step.
    :param action_space: Action space of the env; by default actions lie in [-1, 1], as those of D4RL do.
    :return: The trajectories in the order of the file; an unfinished last one is left out.
    :raises FileNotFoundError: when there is no such file.
    :raises ImportError: when h5py is missing.
    :raises ValueError: naming file, trajectory and step, when the file is corrupt or empty, a field is missing,
        of the wrong shape, a link or much larger than the file, no episode end can be told, a value is not finite
        or an action is out of bounds.
    """
    trajectories, _ = read_d4rl(path, action_space)
    return [trajectory.return_only() for trajectory in trajectories] if return_only else trajectories


def read_d4rl(
    path: str | Path, action_space: spaces.Space[Any] | None = None
) -> tuple[list[Trajectory], tuple[spaces.Space[Any], spaces.Space[Any]]]:
    """
    Trajectories of a D4RL file, and the observation and action space that they fit: an unbounded box for observations.

    :param path: See :func:`load_d4rl`, also for what is raised.
    :param action_space: See :func:`load_d4rl`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No such file: {path}")
    with error_context(str(path)):
        fields = _read(Path(path))
        terminated, observations, actions = _as_flags(fields, "terminals"), fields["observations"], fields["actions"]
        truncated = _as_flags(fields, "timeouts") if "timeouts" in fields else np.zeros_like(terminated)
        if "next_observations" in fields:
            truncated = discontinuities(observations, fields["next_observations"]) & ~terminated
        elif not truncated.any() and terminated.any():
            warnings.warn(
                f"{path} holds no timeouts, nor next_observations to tell resets by: where a time limit cut an episode, it is "
                "taken as one with the next",
                stacklevel=3,
            )
        if not (terminated | truncated).any():
            raise ValueError("no episode end anywhere: neither a terminal nor a timeout, nor a jump between observations")
        trajectories = split_trajectories(observations, actions, fields["rewards"].reshape(-1), terminated, truncated)
        known_spaces = infer_spaces(observations, actions, action_space)
        check_spaces(trajectories, *known_spaces)
    return trajectories, known_spaces


def _read(path: Path) -> dict[str, Array]:
    """The fields that are needed, with a row per step."""
    with open_hdf5(path) as file:
        optional = [name for name in ("timeouts", "next_observations") if name in file]
        names = ["rewards", "terminals", "observations", "actions", *optional]
        shapes = {name: file.shape(name) for name in names}
        n_steps = next(iter(shapes["rewards"]), 0)
        for name, shape in shapes.items():
            if name in ("rewards", "terminals", "timeouts") and (not shape or shape[1:] not in [(), (1,)]):
                raise ValueError(f"{name} must have shape (n_steps,), not {shape}")
            if shape[:1] != (n_steps,):
                raise ValueError(f"{name} of shape {shape} beside {n_steps} rewards: one row per step is needed")
        if n_steps == 0:
            raise ValueError("the file holds no step")
        fields = {name: file.read(name) for name in names if name != "next_observations"}
        if "next_observations" in names and not fields.get("timeouts", np.zeros(1)).any():
            fields["next_observations"] = file.read("next_observations")
        return fields


def _as_flags(fields: dict[str, Array], name: str) -> Array:
    values = fields[name].reshape(-1)  # some files hold them as ``(n_steps, 1)``
    check_finite(name, values)  # NaN would be an end of an episode
    return values.astype(np.bool_)
