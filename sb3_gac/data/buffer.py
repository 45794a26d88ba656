"""Replay buffer that keeps whole trajectories."""

import warnings
from operator import itemgetter
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_gac.data.space import scale_actions, unscale_actions
from sb3_gac.data.table import RECORD, TrajectoryTable, pack
from sb3_gac.data.trajectory import Array, Observations, Trajectory, map_observations, observation_items
from sb3_gac.type_aliases import StepTable, TensorObs, TrajectoryBatch

try:
    import psutil  # type: ignore[import-untyped]
except ImportError:
    psutil = None

ARRAYS = ("actions", "rewards", "weights", "advantages", "dones", "timeouts")  # beside the observations


class TrajectoryReplayBuffer(ReplayBuffer):
    """
    Replay buffer that knows which of its transitions form a trajectory, and samples trajectories.

    The arrays are those of :class:`~stable_baselines3.common.buffers.ReplayBuffer` without ``next_observations``; a table
    beside them says where each trajectory starts, how long it is and what it returned. A trajectory is *open* until
    its episode ends, then *closed*; it is forgotten whole as soon as its first step is overwritten. A trajectory that has
    filled its whole column without an end is closed there as truncated; what follows is another trajectory.
    Only closed trajectories are sampled, or the open ones as far as they go while no other exists.

    Memory is allocated when the first transition comes; copies and pickles hold only the rows in use.

    :param buffer_size: Capacity in transitions, shared out evenly among the envs.
    :param observation_space: Observation space; Dict spaces are supported.
    :param action_space: Action space; Box actions are stored scaled to [-1, 1].
    :param device: PyTorch device of the samples.
    :param n_envs: Number of parallel envs, the columns of the arrays.
    :param optimize_memory_usage: Accepted for compatibility: next observations are never stored.
    :param handle_timeout_termination: Keep in ``timeouts`` which trajectories were truncated;
        otherwise all of them count as terminated.
    """

    observations: Observations  # type: ignore[assignment]

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
    ) -> None:
        # Not ReplayBuffer.__init__, which allocates at once and stores each observation twice
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.capacity = buffer_size
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = optimize_memory_usage
        self.handle_timeout_termination = handle_timeout_termination
        self.reset()

    def reset(self) -> None:
        """Forget everything and release the memory."""
        super().reset()
        self.n_rows = 0  # written since the start, ``pos`` without the wrap-around
        self._table = TrajectoryTable()
        # Id of the open trajectory of each env, -1 where the next transition starts one
        self._open = np.full(self.n_envs, -1, dtype=np.int64)
        self._set_arrays(allocate=False)

    @property
    def n_trajectories(self) -> int:
        """Number of closed trajectories."""
        return len(self._table.closed)

    @property
    def n_transitions(self) -> int:
        """Number of transitions in closed trajectories."""
        return int(self.lengths.sum())

    @property
    def has_open_trajectories(self) -> bool:
        """Whether there are trajectories whose episodes have not ended yet."""
        return bool((self._open >= 0).any())

    @property
    def knows_advantages(self) -> bool:
        """
        Whether there is a segment to sample: ``set_credit`` has told of trajectories that are sampled from.

        :raises RuntimeError: when the buffer is empty.
        """
        records = self._table.selectable
        return not np.isnan(self.advantages[records["start"] % self.buffer_size, records["column"]]).all()

    @property
    def returns(self) -> Array:
        """Undiscounted returns of the closed trajectories in env units, of shape ``(n_trajectories,)``, oldest first."""
        return self._table.closed["episode_return"].copy()

    @property
    def lengths(self) -> Array:
        """Numbers of steps of the closed trajectories, of shape ``(n_trajectories,)``, in the order of ``returns``."""
        return self._table.closed["length"].copy()

    def add(
        self,
        obs: Observations,
        next_obs: Observations,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        """
        Store one transition per env.

        :param obs: Unnormalised observations, of shape ``(n_envs, *obs_shape)``, or a dict of such arrays.
        :param next_obs: Not used.
        :param action: Buffer actions, of shape ``(n_envs, action_dim)``; Box actions lie in [-1, 1].
        :param reward: Rewards in env units, of shape ``(n_envs,)``.
        :param done: Whether the episodes ended with this step, of shape ``(n_envs,)``.
        :param infos: ``TimeLimit.truncated`` tells truncated episodes from terminated ones.
        """
        self._make_room(1)
        reward, done = np.reshape(reward, self.n_envs), np.reshape(done, self.n_envs).astype(np.bool_)
        self._write(self.pos, slice(None), obs, action, reward)
        self.weights[self.pos], self.advantages[self.pos], self.dones[self.pos] = 1.0, np.nan, done
        if self.handle_timeout_termination:
            timeouts = [info.get("TimeLimit.truncated", False) for info in infos]
            self.timeouts[self.pos] = np.reshape(timeouts, self.n_envs)

        starting = np.flatnonzero(self._open < 0)
        if len(starting):
            records = np.zeros(len(starting), dtype=RECORD)
            records["column"], records["start"] = starting, self.n_rows
            self._open[starting] = self._table.append(records)
        self._advance(1)  # before the trajectories grow: an interrupt in between leaves none longer than what is written
        lengths = self._table.step(self._open, reward)
        is_full = ~done & (lengths == self.buffer_size)
        if is_full.any():
            warnings.warn(
                f"an episode has filled its part of the buffer, {self.buffer_size} steps, without an end: it counts as "
                f"truncated there, and what follows as another one. Episodes need a buffer_size of at least {self.n_envs} "
                "times their length",
                stacklevel=2,
            )
        self._cut(is_full)
        self._close(done)

    def add_trajectory(self, trajectory: Trajectory) -> None:
        """
        Store a whole trajectory; an open one before it is closed as truncated.

        :param trajectory: In env units; its actions are scaled.
        :raises ValueError: when the buffer has several envs or is too small for it.
        """
        n_steps = len(trajectory)
        if self.n_envs != 1:
            raise ValueError(f"whole trajectories need a buffer of one env, not {self.n_envs}: call set_n_envs(1) before")
        if n_steps > self.buffer_size:
            raise ValueError(f"a trajectory of {n_steps} steps does not fit a buffer of {self.buffer_size}")
        self.close_open_trajectories()
        self._make_room(n_steps)
        rows = (self.n_rows + np.arange(n_steps)) % self.buffer_size
        actions = scale_actions(self.action_space, trajectory.actions)
        self._write(rows, 0, trajectory.observations, actions, trajectory.rewards)
        self.weights[rows, 0], self.advantages[rows, 0] = 1.0, np.nan
        self.dones[rows] = self.timeouts[rows] = 0.0
        self.dones[rows[-1]] = 1.0
        self.timeouts[rows[-1]] = self.handle_timeout_termination and not trajectory.terminated
        record = (0, self.n_rows, n_steps, trajectory.total_return, True)
        self._advance(n_steps)
        self._table.append(np.array([record], dtype=RECORD))

    def close_open_trajectories(self) -> None:
        """Close the open trajectories as truncated: the envs were reset, or will not be stepped again."""
        self._cut(self._open >= 0)

    def drop_open_trajectories(self) -> None:
        """
        Leave the open trajectories unfinished: they never count as closed, since what they would have returned is unknown.

        Where rewards are costs, a few steps alone would pass for one of the best trajectories.
        """
        columns = np.flatnonzero(self._open >= 0)
        if len(columns):
            # For those who read the arrays without the table. What an interrupt has kept from being stored has no row yet
            records = self._table.records(self._open[columns])
            cut, row = columns[~records["closed"] & (records["start"] < self.n_rows)], (self.n_rows - 1) % self.buffer_size
            self.dones[row, cut] = 1.0
            self.timeouts[row, cut] = float(self.handle_timeout_termination)
            self._open[columns] = -1

    def set_n_envs(self, n_envs: int) -> None:
        """
        Rearrange the buffer for another number of envs, or its capacity; open trajectories are dropped.

        Closed ones move whole. Those that find no room in the new columns are lost with a warning, old ones before new.

        :param n_envs: The new number of parallel envs; the capacity in transitions stays.
        """
        self.drop_open_trajectories()
        shape = max(self.capacity // n_envs, 1), n_envs
        if shape == (self.buffer_size, self.n_envs):
            return
        sources = self._table.closed
        old_rows = [self._rows(source) for source in sources]
        old_arrays = self._arrays()
        self.buffer_size, self.n_envs = shape
        self.reset()

        columns, starts = pack(sources["length"], n_envs, self.buffer_size)
        if len(lost := np.flatnonzero(columns < 0)):
            room = f"a buffer of {n_envs} envs, {self.buffer_size} steps each"
            warnings.warn(f"{len(lost)} of {len(sources)} trajectories do not fit {room}", stacklevel=2)
        kept = np.flatnonzero(columns >= 0)
        if len(kept) == 0:
            return
        self._set_arrays(allocate=True)
        records = sources.copy()
        records["column"], records["start"] = columns, starts
        for index in kept:
            rows = self._rows(records[index])
            for name, array in self._arrays().items():
                array[rows, columns[index]] = old_arrays[name][old_rows[index], sources["column"][index]]
        records = records[kept]
        self._table.append(records[np.argsort(records["start"], kind="stable")])
        self._advance(int((records["start"] + records["length"]).max()))

    def trajectories(self) -> list[Trajectory]:
        """Copies of the closed trajectories in env units, oldest first."""
        trajectories = []
        for record in self._table.closed:
            steps = self._rows(record), record["column"]
            is_truncated = bool(self.timeouts[steps][-1])
            trajectories.append(
                Trajectory(
                    observations=map_observations(itemgetter(steps), self.observations),
                    actions=unscale_actions(self.action_space, self.actions[steps]),
                    rewards=self.rewards[steps],
                    terminated=not is_truncated,
                    truncated=is_truncated,
                )
            )
        return trajectories

    def sample(  # type: ignore[override]
        self, batch_size: int, n_steps: int = 64, env: VecNormalize | None = None, plan_horizon: int | None = None
    ) -> TrajectoryBatch:
        """
        Draw trajectories or segments, with replacement, and steps of each: every step is as likely as any other.

        :param batch_size: Number of trajectories or segments.
        :param n_steps: Number of steps drawn uniformly from each of them.
        :param env: Normalises the observations; returns stay in env units.
        :param plan_horizon: Length of a segment, which starts at any step and ends with its trajectory at the latest; ``None``
            draws whole trajectories, by their lengths. Segments whose advantage is known, unless none is: it is then NaN.
        :raises RuntimeError: when the buffer is empty.
        """
        if plan_horizon is None:
            records, _ = self._table.draw(batch_size)
            return self._batch(records, records["start"], records["length"], np.zeros(batch_size), n_steps, env)
        known = np.zeros(0, dtype=np.int64)
        while len(known) == 0:
            records, ages = self._table.draw(2 * batch_size)
            advantages = self.advantages[(records["start"] + ages) % self.buffer_size, records["column"]]
            known = np.flatnonzero(~np.isnan(advantages))  # half of them is enough, unless most of the buffer is new
            if len(known) == 0 and not self.knows_advantages:
                raise RuntimeError("the buffer knows the advantage of no segment: set_credit() tells it")
        known = np.resize(known, batch_size)
        records, ages = records[known], ages[known]
        lengths = np.minimum(records["length"] - ages, plan_horizon)
        return self._batch(records, records["start"] + ages, lengths, advantages[known], n_steps, env)

    def steps(self) -> StepTable:
        """
        All steps that ``sample`` draws from.

        :raises RuntimeError: when the buffer is empty.
        """
        records = self._table.selectable
        lengths = records["length"].copy()
        ages = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = (np.repeat(records["start"], lengths) + ages) % self.buffer_size
        indices = rows * self.n_envs + np.repeat(records["column"], lengths)
        last = indices[np.cumsum(lengths) - 1]
        is_terminated = (self.dones.reshape(-1)[last] > 0) & (self.timeouts.reshape(-1)[last] == 0)
        return StepTable(indices, lengths, records["episode_return"].copy(), is_terminated, self._table.selectable_ids)

    def observations_at(self, indices: Array, env: VecNormalize | None = None) -> TensorObs:
        """
        Observations of steps, of shape ``(n_steps, *obs_shape)``.

        :param indices: Indices of a :class:`~sb3_gac.type_aliases.StepTable`.
        :param env: Normalises the observations.
        """
        taken = map_observations(lambda array: _take(array, indices), self.observations)
        observations = self._normalize_obs(taken, env)
        if isinstance(observations, dict):
            return {key: self.to_torch(array, copy=False) for key, array in observations.items()}
        return self.to_torch(observations, copy=False)

    def set_credit(self, indices: Array, weights: Array, advantages: Array | None = None) -> None:
        """
        Set what the likelihood of the actions of steps weighs, and the advantages of the segments that start with them.

        New steps weigh 1, and their segments' advantages are not known.

        :param indices: Indices of a :class:`~sb3_gac.type_aliases.StepTable`, of shape ``(n_steps,)``.
        :param weights: Positive numbers of the same shape.
        :param advantages: Standardised advantages of segments, of the same shape; ``None`` leaves them as they are.
        """
        self.weights.reshape(-1)[indices] = weights
        if advantages is not None:
            self.advantages.reshape(-1)[indices] = advantages

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("observations", *ARRAYS):
            state[name] = map_observations(lambda array: array[: self.size()], state[name])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        used = self._arrays()
        self._set_arrays(allocate=self.size() > 0)
        for name, array in self._arrays().items() if self.size() > 0 else ():
            array[: self.size()] = used[name]

    def _arrays(self) -> dict[str, Array]:
        return {**dict(observation_items(self.observations)), **{name: getattr(self, name) for name in ARRAYS}}

    def _set_arrays(self, allocate: bool) -> None:
        """Arrays full of zeros; unless allocated they take no memory and cannot be written."""

        def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
            shape = (self.buffer_size, self.n_envs, *shape)
            return np.zeros(shape, dtype) if allocate else np.broadcast_to(np.zeros((), dtype), shape)

        space = self.observation_space
        if isinstance(space, spaces.Dict):
            assert isinstance(self.obs_shape, dict)
            self.observations = {key: zeros(shape, space[key].dtype) for key, shape in self.obs_shape.items()}
        else:
            self.observations = zeros(self.obs_shape, space.dtype)
        is_box = isinstance(self.action_space, spaces.Box)
        self.actions = zeros((self.action_dim,), np.float32 if is_box else self.action_space.dtype)
        self.rewards, self.weights, self.advantages = (zeros((), np.float32) for _ in range(3))
        self.dones, self.timeouts = zeros((), np.float32), zeros((), np.float32)

    def _make_room(self, n_rows: int) -> None:
        """Allocate before the first row; forget the trajectories that the next rows overwrite."""
        if self.n_rows == 0:
            self._set_arrays(allocate=True)
            needed = sum(array.nbytes for array in self._arrays().values())
            if psutil is not None and needed > (available := psutil.virtual_memory().available):
                warnings.warn(
                    "This system does not have apparently enough memory to store the complete "
                    f"replay buffer {needed / 1e9:.2f}GB > {available / 1e9:.2f}GB",
                    stacklevel=3,
                )
        self._table.evict(self.n_rows + n_rows - self.buffer_size)

    def _write(self, rows: Any, columns: Any, observations: Observations, actions: Array, rewards: Array) -> None:
        """Assign arrays of shape ``(n, ...)`` to n rows of one column, or to one row of the n columns."""
        arrays = self._arrays()
        for name, values in [*observation_items(observations), ("actions", actions), ("rewards", rewards)]:
            arrays[name][rows, columns] = np.reshape(values, (len(rewards), *arrays[name].shape[2:]))

    def _advance(self, n_rows: int) -> None:
        n_rows += self.n_rows
        # One statement: an interrupt comes before or after it
        self.n_rows, self.pos, self.full = n_rows, n_rows % self.buffer_size, n_rows >= self.buffer_size

    def _close(self, columns: Array) -> None:
        """The open trajectories of these columns end with the row before ``pos``."""
        self._table.close(self._open[columns])
        self._open[columns] = -1

    def _cut(self, columns: Array) -> None:
        """Close open trajectories that no ``done`` has ended."""
        if columns.any():
            self.dones[self.pos - 1, columns] = 1.0
            self.timeouts[self.pos - 1, columns] = float(self.handle_timeout_termination)
            self._close(columns)

    def _rows(self, record: Array) -> Array:
        start, length = int(record["start"]), int(record["length"])
        return np.arange(start, start + length) % self.buffer_size

    def _batch(
        self, records: Array, starts: Array, lengths: Array, advantages: Array, n_steps: int, env: VecNormalize | None
    ) -> TrajectoryBatch:
        steps = (np.random.rand(len(records), n_steps) * lengths[:, None]).astype(np.int64)
        rows = (starts[:, None] + steps) % self.buffer_size  # (batch_size, n_steps)
        indices = rows * self.n_envs + records["column"][:, None]
        first_indices = starts % self.buffer_size * self.n_envs + records["column"]
        return TrajectoryBatch(
            observations=self.observations_at(indices, env),
            actions=self.to_torch(_take(self.actions, indices).astype(np.float32, copy=False), copy=False),
            first_observations=self.observations_at(first_indices, env),
            returns=self.to_torch(records["episode_return"].astype(np.float32), copy=False),
            advantages=self.to_torch(advantages.astype(np.float32), copy=False),
            lengths=self.to_torch(lengths.copy(), copy=False),
            ages=self.to_torch(steps, copy=False),
            weights=self.to_torch(_take(self.weights, indices), copy=False),
        )


def _take(array: Array, indices: Array) -> Array:
    """Copies of the transitions at these indices into rows and columns laid end to end: thrice as fast as two indices."""
    return array.reshape(-1, *array.shape[2:]).take(indices, axis=0)
