"""Which trajectories a ring buffer holds, and which of them to look at."""

import numpy as np

from sb3_gac.data.trajectory import Array

# ``start`` counts the rows written since the buffer was made: it never wraps around
RECORD = np.dtype(
    [
        ("column", np.int32),
        ("start", np.int64),
        ("length", np.int64),
        ("episode_return", np.float64),
        ("closed", np.bool_),
    ]
)


class TrajectoryTable:
    """
    One record per trajectory of a ring buffer, in the order of their first steps.

    All columns of the buffer move in lockstep, so trajectories are overwritten in the order in which they started:
    to evict is to move the head of the table. A trajectory keeps its id for life.

    :param records: Records of the trajectories to begin with, in the order of ``start``.
    :param first_id: Id of the first of them.
    """

    def __init__(self, records: Array = np.zeros(0, dtype=RECORD), first_id: int = 0) -> None:  # noqa: B008
        self._records = np.concatenate([records, np.zeros(64, dtype=RECORD)])
        # Ids of the first record of the array, of the oldest trajectory alive and of the next to come
        self._offset = self._head = first_id
        self._tail = first_id + len(records)
        # Cleared before every change: an interrupt then leaves nothing in it that is no longer true
        self._cache: dict[str, Array] = {}

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def alive(self) -> Array:
        """Records of all trajectories, open ones included; a view."""
        return self._records[self._head - self._offset : self._tail - self._offset]

    @property
    def first_id(self) -> int:
        """Id of the oldest trajectory."""
        return self._head

    @property
    def closed(self) -> Array:
        """Records of the closed trajectories."""
        return self.selectable if self._has_closed else self.alive[:0]

    @property
    def _has_closed(self) -> bool:
        if "has_closed" not in self._cache:
            self._cache["has_closed"] = np.asarray(self.alive["closed"].any())
        return bool(self._cache["has_closed"])

    @property
    def selectable(self) -> Array:
        """
        Records of the closed trajectories or, as long as there is none, of the open ones so far.

        :raises RuntimeError: when there is none at all.
        """
        if "selectable" not in self._cache:
            alive = self.alive
            indices = np.flatnonzero(alive["closed"] if self._has_closed else alive["length"] > 0)
            self._cache["selectable"], self._cache["ids"] = alive[indices], self._head + indices
        if len(self._cache["selectable"]) == 0:
            raise RuntimeError("Unable to sample from an empty buffer: add a transition or a trajectory before.")
        return self._cache["selectable"]

    @property
    def selectable_ids(self) -> Array:
        """Ids of the records of ``selectable``."""
        return self._cache["ids"] if len(self.selectable) else np.zeros(0, dtype=np.int64)

    def append(self, records: Array) -> Array:
        """
        Enter trajectories that start no earlier than those already there.

        :param records: Their records, in the order of ``start``.
        :return: Their ids.
        """
        self._cache.clear()
        if self._tail - self._offset + len(records) > len(self._records):
            alive = self.alive
            room = np.zeros(max(64, len(alive) + len(records)), dtype=RECORD)
            self._records, self._offset = np.concatenate([alive, room]), self._head
        ids = self._tail + np.arange(len(records))
        self._records[ids - self._offset] = records
        self._tail += len(records)
        return ids

    def step(self, ids: Array, rewards: Array) -> Array:
        """
        Add one step to open trajectories.

        :param ids: Their ids, each once.
        :param rewards: Rewards of the step, of the same shape.
        :return: Their lengths.
        """
        if not self._has_closed:
            self._cache.clear()
        indices = ids - self._offset
        self._records["length"][indices] += 1
        self._records["episode_return"][indices] += rewards
        lengths: Array = self._records["length"][indices]
        return lengths

    def close(self, ids: Array) -> None:
        """
        Trajectories have ended.

        :param ids: Their ids, each once; they were open.
        """
        if len(ids):
            self._cache.clear()
            self._records["closed"][ids - self._offset] = True

    def records(self, ids: Array) -> Array:
        """
        Records of trajectories that are alive.

        :param ids: Their ids.
        """
        records: Array = self._records[ids - self._offset]
        return records

    def evict(self, start: int) -> None:
        """
        Forget the trajectories that started earlier, none of them still growing.

        :param start: Rows below it are about to be overwritten.
        """
        if len(self) and self._records["start"][self._head - self._offset] < start:
            self._cache.clear()
            self._head += int(np.searchsorted(self.alive["start"], start))

    def draw(self, n_steps: int) -> tuple[Array, Array]:
        """
        Draw steps of selectable trajectories uniformly, with replacement.

        :param n_steps: How many.
        :return: Records of their trajectories, and the numbers of steps before them in these.
        """
        if "n_steps" not in self._cache:
            self._cache["n_steps"] = np.cumsum(self.selectable["length"])
        cumulative = self._cache["n_steps"]
        steps = (np.random.rand(n_steps) * cumulative[-1]).astype(np.int64)
        drawn = np.searchsorted(cumulative, steps, side="right")
        records: Array = self.selectable[drawn]
        ages: Array = steps - (cumulative[drawn] - records["length"])
        return records, ages


def pack(lengths: Array, n_columns: int, column_size: int) -> tuple[Array, Array]:
    """
    Share trajectories out among columns: first the newest that fit in total, the longest first, then older ones.

    :param lengths: Their lengths, oldest first.
    :param n_columns: Number of columns.
    :param column_size: Number of steps that fit one column.
    :return: Column (-1 where there is no room) and first row of each; within a column the oldest comes first.
    """
    newest = np.cumsum(lengths[::-1])[::-1] <= n_columns * column_size
    # Of two that are as long the newer one
    longest_first = np.lexsort((-np.arange(len(lengths)), -lengths))
    order = [*longest_first[newest[longest_first]], *np.flatnonzero(~newest)[::-1]]
    columns, starts = np.full(len(lengths), -1), np.zeros(len(lengths), dtype=np.int64)
    used = np.zeros(n_columns, dtype=np.int64)
    for index in order:
        emptiest = np.argmin(used)
        if used[emptiest] + lengths[index] <= column_size:
            columns[index] = emptiest
            used[emptiest] += lengths[index]
    for column in range(n_columns):
        inside = np.flatnonzero(columns == column)
        starts[inside] = np.cumsum(lengths[inside]) - lengths[inside]
    return columns, starts
