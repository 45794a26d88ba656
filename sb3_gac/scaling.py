"""How env actions become buffer actions in [-1, 1], and back."""

from typing import Any

import numpy as np
from gymnasium import spaces


def scale_actions(action_space: spaces.Space[Any], actions: np.ndarray) -> np.ndarray:
    """
    Buffer actions for actions in env units: Box actions are scaled to float32 in [-1, 1], others are left alone.

    :param action_space: Action space of the env.
    :param actions: Actions in env units, of shape ``(..., *action_shape)``.
    """
    if not isinstance(action_space, spaces.Box):
        return actions
    # Halves: the distance of two bounds may be more than the largest number
    low, high, halves = (0.5 * np.asarray(array, np.float64) for array in (action_space.low, action_space.high, actions))
    return np.clip(2.0 * ((halves - low) / (high - low)) - 1.0, -1.0, 1.0).astype(np.float32)


def unscale_actions(action_space: spaces.Space[Any], buffer_actions: np.ndarray) -> np.ndarray:
    """
    Actions in env units for the rows of a buffer, the inverse of :func:`scale_actions`.

    :param action_space: Action space of the env.
    :param buffer_actions: Rows of a replay buffer, of shape ``(n_steps, action_dim)``; Box actions lie in [-1, 1].
    :return: Actions of shape ``(n_steps, *action_shape)``; those of a Box lie inside of it to the last bit.
    """
    actions = buffer_actions.reshape(len(buffer_actions), *(action_space.shape or ()))
    if not isinstance(action_space, spaces.Box):
        return actions.astype(action_space.dtype)
    low, high = action_space.low.astype(np.float64), action_space.high.astype(np.float64)
    share = 0.5 * (actions.astype(np.float64) + 1.0)
    # A weighted mean of the bounds cannot overflow. The bounds are numbers of the space's dtype: to round to others of them
    # leads no action that lies between them outside.
    return np.clip(low * (1.0 - share) + high * share, low, high).astype(action_space.dtype)
