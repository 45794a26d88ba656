"""Do trajectories fit the spaces of an env."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_gac.data.trajectory import Array, Observations, Trajectory, error_context, observation_items
from sb3_gac.scaling import scale_actions as scale_actions
from sb3_gac.scaling import unscale_actions as unscale_actions

# Share of the range of an action by which rounding may carry it over a bound
_ROUNDING = 1e-5
# Values that the codes of a space of a file may have: networks have weights for each
MAX_ACTIONS = 2**16
# What a file may name
REAL_DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)


def infer_spaces(
    observations: Observations,
    actions: Array,
    observation_space: spaces.Space[Any] | None = None,
    action_space: spaces.Space[Any] | None = None,
) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """
    Spaces that fit arrays of which nothing else is known.

    Numbers make unbounded boxes of observations and actions in [-1, 1]; uint8 observations are images;
    single integer actions are Discrete.

    :param observations: Observations of shape ``(n_steps, *obs_shape)``, or a dict of such arrays.
    :param actions: Actions in env units, of shape ``(n_steps, *action_shape)``.
    :param observation_space: Observation space, where it is known.
    :param action_space: Action space, where it is known.
    :return: Observation space and action space.
    :raises ValueError: when actions may be of several spaces, or of one with too many actions.
    """

    def box(array: Array) -> spaces.Box:
        if array.dtype == np.uint8:
            return spaces.Box(0, 255, array.shape[1:], np.uint8)
        floats = array.dtype if array.dtype.kind == "f" else np.result_type(array.dtype, np.float32)
        return spaces.Box(-np.inf, np.inf, array.shape[1:], floats)

    if observation_space is not None:
        pass
    elif isinstance(observations, dict):
        observation_space = spaces.Dict({key: box(array) for key, array in observations.items()})
    else:
        observation_space = box(observations)
    if action_space is not None:
        return observation_space, action_space
    if actions.dtype.kind in "iu" and actions[0].size == 1:
        if not 0 <= (largest := int(actions.max())) < MAX_ACTIONS:
            raise ValueError(f"actions are whole numbers up to {largest}, no space of at most {MAX_ACTIONS:,} has them")
        return observation_space, spaces.Discrete(largest + 1)
    if actions.dtype.kind in "iub":
        raise ValueError(
            f"actions of type {actions.dtype} and shape {actions.shape[1:]} may be MultiDiscrete, MultiBinary or whole "
            "numbers of a Box: give the spaces with OfflineDataset(...), or an env"
        )
    return observation_space, spaces.Box(-1.0, 1.0, actions.shape[1:], np.float32)


def space_items(observation_space: spaces.Space[Any]) -> list[tuple[str, spaces.Space[Any]]]:
    """
    Parts of an observation space beside the names of their arrays, see ``observation_items``.

    :param observation_space: A space, or a Dict of spaces.
    """
    if isinstance(observation_space, spaces.Dict):
        return [(f"observations[{key!r}]", part) for key, part in observation_space.spaces.items()]
    return [("observations", observation_space)]


def check_supported(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """
    Refuse spaces that cannot be learnt from: nested or exotic ones, and Box actions that are no reals between finite bounds.

    :param observation_space: Observation space of the env.
    :param action_space: Action space of the env.
    :raises ValueError: naming the space.
    """
    parts = [part for _, part in space_items(observation_space)]
    if not parts:
        raise ValueError(f"the space {observation_space} is empty")
    for space in [*parts, action_space]:
        if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise ValueError(f"the space {space} is not supported")
        if np.any(getattr(space, "start", 0)):
            raise ValueError(f"the space {space} is not supported: its values must start at 0")
        if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim > 1:
            raise ValueError(f"the space {space} is not supported: its values must be a vector")
    if any(part.shape == () and isinstance(part, spaces.Box) for part in parts):
        raise ValueError(f"the space {observation_space} is not supported: observations must have a dimension")
    if isinstance(action_space, spaces.Box):
        if not np.issubdtype(action_space.dtype, np.floating):
            raise ValueError(f"the space {action_space} is not supported: Box actions must be floats")
        if not (np.isfinite([action_space.low, action_space.high]).all() and (action_space.low < action_space.high).all()):
            raise ValueError(f"the action space {action_space} must have finite bounds, the lower below the upper")


def check_spaces(
    trajectories: Sequence[Trajectory], observation_space: spaces.Space[Any], action_space: spaces.Space[Any], source: str = ""
) -> None:
    """
    Refuse trajectories that did not come from an env with these spaces.

    Observations may leave the bounds of a Box, as those of many envs do; actions may not.

    :param trajectories: The trajectories, in env units.
    :param observation_space: Observation space of the env.
    :param action_space: Action space of the env.
    :param source: Name of the data set, for the message.
    :raises ValueError: naming the source, the trajectory and the step, when keys, shapes, dtypes, Discrete values
        or actions do not fit, or when there is no trajectory at all.
    """
    with error_context(source):
        check_supported(observation_space, action_space)
        if not trajectories:
            raise ValueError("no trajectory")
        parts = dict(space_items(observation_space))
        for index, trajectory in enumerate(trajectories):
            with error_context(f"trajectory {index}"):
                arrays = dict(observation_items(trajectory.observations))
                if arrays.keys() != parts.keys():
                    raise ValueError(f"it has {', '.join(sorted(arrays))}, the space needs {', '.join(sorted(parts))}")
                for name, array in arrays.items():
                    check_array(name, array, parts[name])
                check_array("actions", trajectory.actions, action_space)
                if isinstance(action_space, spaces.Box):
                    slack = _ROUNDING * (action_space.high.astype(np.float64) - action_space.low)
                    _check_range("actions", trajectory.actions, action_space.low - slack, action_space.high + slack)


def transpose_images(trajectories: list[Trajectory], observation_space: spaces.Space[Any]) -> list[Trajectory]:
    """
    Put the channels of images first where the space has them first, as the spaces of SB3 models do.

    :param trajectories: The trajectories; those that need no change are returned as they are.
    :param observation_space: Observation space of the model.
    """

    def transpose(array: Array, space: spaces.Space[Any] | None) -> Array:
        if not (isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8):
            return array
        channels_last = (*space.shape[1:], space.shape[0])
        return np.moveaxis(array, -1, 1) if array.shape[1:] == channels_last != space.shape else array

    def convert(trajectory: Trajectory) -> Trajectory:
        observations = trajectory.observations
        if isinstance(observations, dict):
            subspaces = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {}
            return replace(trajectory, observations={k: transpose(v, subspaces.get(k)) for k, v in observations.items()})
        return replace(trajectory, observations=transpose(observations, observation_space))

    has_images = any(len(part.shape or ()) == 3 for _, part in space_items(observation_space))
    return [convert(trajectory) for trajectory in trajectories] if has_images else trajectories


def check_array(name: str, array: Array, space: spaces.Space[Any]) -> None:
    """
    Refuse values that are not of a space; a Box may be left.

    :param name: Name of the field, for the message.
    :param array: One row per step.
    :param space: The space, which is no Dict.
    :raises ValueError: naming the field and the step.
    """
    shape = array.shape[1:]
    if isinstance(space, spaces.Box):
        fits = shape == space.shape and array.dtype.kind in "biuf"
        fits &= np.can_cast(array.dtype, space.dtype, casting="same_kind")
    elif isinstance(space, spaces.Discrete):
        fits = shape in [(), (1,)] and array.dtype.kind in "iu"
    else:
        fits = shape == space.shape and array.dtype.kind in "biu"
    if not fits:
        raise ValueError(f"{name} of shape {shape} and dtype {array.dtype} do not fit the space {space}")

    if isinstance(space, spaces.Box):
        _check_kept(name, array, space.dtype)
    elif isinstance(space, spaces.Discrete):
        _check_range(name, array, 0, space.n - 1)
    elif isinstance(space, spaces.MultiDiscrete):
        _check_range(name, array, 0, space.nvec - 1)
    elif isinstance(space, spaces.MultiBinary):
        _check_range(name, array, 0, 1)


def _check_kept(name: str, array: Array, dtype: Any) -> None:
    """Refuse numbers that another dtype would make others of, but for the rounding of floats."""
    if np.can_cast(array.dtype, dtype, casting="safe"):
        return
    if array.dtype.kind == "f":
        _check_range(name, array, np.finfo(dtype).min, np.finfo(dtype).max)
    elif dtype.kind == "f":  # whole numbers up to here are floats
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        _check_range(name, array, -largest, largest)
    else:
        _check_range(name, array, np.iinfo(dtype).min, np.iinfo(dtype).max)


def _check_range(name: str, array: Array, low: Array | int | np.integer, high: Array | int | np.integer) -> None:
    inside = (array >= low) & (array <= high)
    if not inside.all():
        step = int(np.argmin(inside.reshape(len(array), -1).all(axis=1)))
        raise ValueError(f"{name} at step {step} are out of bounds: {array[step]}, bounds are {low} and {high}")
