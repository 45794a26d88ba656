"""Data sets in the layout of D4RL: flat arrays of all steps, in an HDF5 file or in memory."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from sb3_gac.data.hdf5 import open_hdf5
from sb3_gac.data.space import infer_spaces
from sb3_gac.data.trajectory import (
    Observations,
    Trajectory,
    as_flags,
    check_finite,
    discontinuities,
    error_context,
    observation_items,
    split_trajectories,
)

Fields: TypeAlias = dict[str, Any]  # arrays, observations may be a dict of them
NEEDED, OPTIONAL = ("rewards", "terminals", "observations", "actions"), ("timeouts", "next_observations")
OF_ONE_NUMBER = ("rewards", "terminals", "timeouts")


def read_d4rl(
    data: str | Path | Mapping[str, Any],
    observation_space: spaces.Space[Any] | None = None,
    action_space: spaces.Space[Any] | None = None,
) -> tuple[list[Trajectory], tuple[spaces.Space[Any], spaces.Space[Any]]]:
    """
    Trajectories in the layout of D4RL, and spaces that they have still to be checked against.

    There are ``observations``, ``actions`` (env units), ``rewards``, ``terminals`` and, as a rule, ``timeouts``.
    Without ``timeouts``, or where none is set, a trajectory ends at a terminal, and where ``next_observations`` (if there)
    does not continue with the following row. Whatever else there is stays unread; an environment that a file names is not
    built.

    :param data: The ``.hdf5`` file, or a dict of arrays.
    :param observation_space: Observation space of the env; by default an unbounded box.
    :param action_space: Action space of the env; by default actions are whole numbers or lie in [-1, 1].
    :return: The trajectories in order, without an unfinished last one, and the two spaces.
    :raises FileNotFoundError: when there is no such file.
    :raises ImportError: when h5py is missing.
    :raises ValueError: naming file, trajectory and step, when the file is corrupt or empty, a field is missing,
        of the wrong shape, a link or much larger than the file, no episode end can be told, or a value is not finite.
    """
    if not (isinstance(data, Mapping) or Path(data).is_file()):
        raise FileNotFoundError(f"No such file: {data}")
    name = "dict of arrays" if isinstance(data, Mapping) else str(data)
    with error_context(name):
        fields = _take(data) if isinstance(data, Mapping) else _read(Path(data))
        _check(fields)
        return _split(fields, name), infer_spaces(fields["observations"], fields["actions"], observation_space, action_space)


def _take(data: Mapping[str, Any]) -> Fields:
    """The fields that are needed of a dict."""
    if missing := [field for field in NEEDED if data.get(field) is None]:
        raise ValueError(f"the field {missing[0]!r} is missing, there are {sorted(map(str, data))[:20]}")
    fields: Fields = {}
    for field in (*NEEDED, *OPTIONAL):
        values = data.get(field)
        with error_context(field):
            if isinstance(values, Mapping) and field.endswith("observations"):
                fields[field] = {key: np.asarray(part) for key, part in values.items()}
            elif values is not None:
                fields[field] = np.asarray(values)
    return fields


def _read(path: Path) -> Fields:
    """The fields that are needed of a file."""
    with open_hdf5(path) as file:
        names = [*NEEDED, *(name for name in OPTIONAL if name in file.names)]
        fields = {name: file.read(name) for name in names if name != "next_observations"}
        if "next_observations" in names and not fields.get("timeouts", np.zeros(1)).any():
            fields["next_observations"] = file.read("next_observations")
        return fields


def _check(fields: Fields) -> None:
    """Numbers, and a row of them per step in each field."""
    n_steps = fields["rewards"].size
    for field, values in fields.items():
        for name, array in observation_items(values):
            name = name.replace("observations", field, 1)
            if field in OF_ONE_NUMBER and (array.ndim == 0 or array.shape[1:] not in [(), (1,)]):
                raise ValueError(f"{name} must have shape (n_steps,), not {array.shape}")
            if array.shape[:1] != (n_steps,):
                raise ValueError(f"{name} of shape {array.shape} beside {n_steps} rewards: one row per step is needed")
            if array.dtype.kind not in "biuf":
                raise ValueError(f"{name} have dtype {array.dtype}, numbers are needed")
    if n_steps == 0:
        raise ValueError("it holds no step")


def _split(fields: Fields, name: str) -> list[Trajectory]:
    """Trajectories of flat fields, which have a row per step."""
    rewards = fields["rewards"].reshape(-1)
    terminated = as_flags("terminals", fields["terminals"].reshape(-1))
    truncated = as_flags("timeouts", fields.get("timeouts", np.zeros(len(rewards))).reshape(-1))
    following = fields.get("next_observations")
    if following is not None and not truncated.any():
        _check_following(fields["observations"], following)
        truncated = discontinuities(fields["observations"], following) & ~terminated
    elif not truncated.any() and terminated.any():
        warnings.warn(
            f"{name} holds no timeouts, nor next_observations to tell resets by: where a time limit cut an episode, it is "
            "taken as one with the next",
            stacklevel=5,
        )
    if not (terminated | truncated).any():
        raise ValueError("no episode end anywhere: neither a terminal nor a timeout, nor a jump between observations")
    return split_trajectories(fields["observations"], fields["actions"], rewards, terminated, truncated)


def _check_following(observations: Observations, following: Observations) -> None:
    """Refuse next observations that no jump could be told by."""
    shapes, others = ([array.shape for _, array in observation_items(o)] for o in (observations, following))
    if isinstance(observations, dict) != isinstance(following, dict) or shapes != others:
        raise ValueError(f"next_observations of shapes {others} beside observations of shapes {shapes}")
    for name, array in observation_items(following):
        check_finite(name.replace("observations", "next_observations", 1), array)
