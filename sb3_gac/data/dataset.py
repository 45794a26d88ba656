"""One door for whatever a model can be trained on offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from sb3_gac.data.d4rl import read_d4rl
from sb3_gac.data.minari import is_minari, read_minari
from sb3_gac.data.rollout import buffer_trajectories
from sb3_gac.data.space import check_spaces, infer_spaces, transpose_images
from sb3_gac.data.trajectory import Trajectory
from sb3_gac.type_aliases import DatasetSource


@dataclass(frozen=True)
class OfflineDataset:
    """
    Trajectories that fit a pair of spaces.

    :param trajectories: At least one trajectory, in env units.
    :param observation_space: Observation space of the env they come from.
    :param action_space: Action space of the env they come from.
    :param name: Where they come from, for messages and records.
    """

    trajectories: list[Trajectory]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    name: str

    def __post_init__(self) -> None:
        check_spaces(self.trajectories, self.observation_space, self.action_space, source=self.name)


def load_dataset(
    data: DatasetSource,
    observation_space: spaces.Space[Any] | None = None,
    action_space: spaces.Space[Any] | None = None,
) -> OfflineDataset:
    """
    Load trajectories from wherever they are, and refuse bad data before anything is learnt from it.

    :param data: Path of a D4RL file (``.hdf5``) or a dict of its arrays, see :func:`~sb3_gac.data.d4rl.read_d4rl`; id or path
        of a Minari data set or the data set itself, see :func:`~sb3_gac.data.minari.read_minari`; a sequence of trajectories,
        an SB3 replay buffer, or an :class:`OfflineDataset`.
    :param observation_space: Space of the env to train for, which the data must fit; the data set's own by default,
        guessed for a sequence of trajectories. Images are transposed if this one has its channels first.
    :param action_space: Action space of the env to train for; the data set's own by default.
    :raises TypeError: when the data is none of these.
    :raises ValueError: naming the data set, the trajectory and the step that are bad or do not fit the spaces.
    """
    trajectories, own_spaces, name = _load(data, observation_space, action_space)
    observation_space = observation_space or own_spaces[0]
    action_space = action_space or own_spaces[1]
    trajectories = transpose_images(trajectories, observation_space)
    return OfflineDataset(trajectories, observation_space, action_space, name)


def _load(
    data: DatasetSource, observation_space: spaces.Space[Any] | None, action_space: spaces.Space[Any] | None
) -> tuple[list[Trajectory], tuple[spaces.Space[Any], spaces.Space[Any]], str]:
    """Trajectories, their own observation and action space or those that are known, and the name of the source."""
    if isinstance(data, OfflineDataset):
        return data.trajectories, (data.observation_space, data.action_space), data.name
    if isinstance(data, ReplayBuffer):
        trajectories = buffer_trajectories(data)
        return trajectories, (data.observation_space, data.action_space), "replay buffer"
    if isinstance(data, Mapping):
        return *read_d4rl(data, observation_space, action_space), "dict of arrays"
    if isinstance(data, str | Path) and Path(data).suffix in (".hdf5", ".h5"):
        return *read_d4rl(data, observation_space, action_space), str(data)
    if isinstance(data, str | Path) or is_minari(data):
        trajectories, dataset = read_minari(data)
        return trajectories, (dataset.observation_space, dataset.action_space), str(dataset.id)
    if isinstance(data, Sequence) and all(isinstance(item, Trajectory) for item in data):
        trajectories = list(data)
        if not trajectories:
            raise ValueError("an empty list of trajectories")
        actions = trajectories[0].actions
        if actions.dtype.kind in "iu":  # how many there are, only all trajectories tell
            actions = max((trajectory.actions for trajectory in trajectories), key=lambda array: array.max(initial=0))
        own_spaces = infer_spaces(trajectories[0].observations, actions, observation_space, action_space)
        return trajectories, own_spaces, "list of trajectories"
    raise TypeError(
        f"expected a path, a Minari data set, trajectories, a dict of arrays or a replay buffer, not {type(data).__name__}"
    )
