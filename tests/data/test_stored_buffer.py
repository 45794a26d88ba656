"""Files of replay buffers come back as they were, and nothing else that they name is called."""

import os
import pickle
import sys

import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.data.stored_buffer import read_buffer
from sb3_gac.data.table import RECORD

BOX = spaces.Box(-1, 1, (2,), np.float32)
MIXED = spaces.Dict({"b": BOX, "a": spaces.Discrete(3), "image": spaces.Box(0, 255, (4, 4, 3), np.uint8)})


class Calls:
    """
    An object that is made by a call when it is unpickled.

    :param function: The function.
    :param arguments: Its arguments.
    """

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Own(TrajectoryReplayBuffer):
    """A buffer of the user's own."""


def make(observation_space=BOX, action_space=BOX, cls=TrajectoryReplayBuffer, n_steps=33):
    buffer = cls(100, observation_space, action_space, n_envs=2, device="cpu")
    observation_space.seed(0)
    for step in range(n_steps):
        samples = [observation_space.sample() for _ in range(2)]
        is_dict = isinstance(observation_space, spaces.Dict)
        obs = {key: np.stack([s[key] for s in samples]) for key in samples[0]} if is_dict else np.stack(samples)
        actions = np.stack([action_space.sample() for _ in range(2)]).reshape(2, -1)
        buffer.add(obs, obs, actions, np.ones(2), np.full(2, step % 5 == 4), [{}, {}])
    if n_steps > 0:
        indices = buffer.steps().indices
        buffer.set_credit(indices, np.linspace(0.1, 2.0, len(indices)))
    return buffer


def write(path, content):
    path.write_bytes(pickle.dumps(content, pickle.HIGHEST_PROTOCOL))
    return path


@pytest.mark.parametrize("observation_space", [BOX, MIXED, spaces.MultiBinary([2, 2]), spaces.MultiDiscrete([3, 2])])
@pytest.mark.parametrize("action_space", [BOX, spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)])
def test_it_comes_back(tmp_path, observation_space, action_space):
    buffer = make(observation_space, action_space)
    back = read_buffer(write(tmp_path / "buffer.pkl", buffer))
    assert (back.observation_space, back.action_space, back.device) == (observation_space, action_space, buffer.device)
    assert vars(back).keys() == vars(buffer).keys() and type(back) is type(buffer)
    for name, array in buffer._arrays().items():
        np.testing.assert_array_equal(back._arrays()[name], array)
        assert back._arrays()[name].dtype == array.dtype
    assert back._table.alive.dtype == RECORD
    np.testing.assert_array_equal(back._table.alive, buffer._table.alive)
    batches = []
    for either in (buffer, back):
        np.random.seed(0)
        batches.append(either.sample(4))
    assert all((a == b).all() for a, b in zip(batches[0][1:], batches[1][1:], strict=True) if not isinstance(a, dict))
    np.testing.assert_array_equal(back.steps().ids, buffer.steps().ids)


def test_an_empty_one(tmp_path):
    assert read_buffer(write(tmp_path / "buffer.pkl", make(n_steps=0))).size() == 0


def test_classes_of_ones_own(tmp_path):
    path = write(tmp_path / "buffer.pkl", make(cls=Own))
    with pytest.raises(ValueError, match=r"buffer\.pkl .*it names .*\.Own, which is no part of a replay buffer"):
        read_buffer(path)
    assert type(read_buffer(path, classes=[Own])) is Own


@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch {proof}"),
        (eval, "open({proof!r}, 'w')"),
        (__import__, "theirs"),
        (np.load, "{proof}"),
        (getattr, "x", "upper"),
        (bytearray, 10**12),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_else_is_called(tmp_path, monkeypatch, call, inside):
    proof = tmp_path / "ran"
    (tmp_path / "theirs.py").write_text(f"open({str(proof)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    function, *arguments = call
    content = Calls(function, *(a.format(proof=str(proof)) if isinstance(a, str) else a for a in arguments))
    if inside:
        buffer = make()
        buffer.note = content
        content = buffer
    with pytest.raises(ValueError, match=r"buffer\.pkl is not the file of a replay buffer: .* which is no part of"):
        read_buffer(write(tmp_path / "buffer.pkl", content))
    assert not proof.exists() and "theirs" not in sys.modules


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.zeros(2, dtype="U3"),
        np.zeros(2, dtype=[("a", "f4")]),
        np.zeros(64, dtype=[(name, "i8") for name in RECORD.names]),
    ],
)
def test_arrays_of_other_things_than_numbers(tmp_path, array):
    buffer = make()
    buffer.rewards = array
    with pytest.raises(ValueError, match=r"buffer\.pkl is not the file of a replay buffer: "):
        read_buffer(write(tmp_path / "buffer.pkl", buffer))


def test_columns_of_the_table_that_lie_elsewhere(tmp_path):
    content = pickle.dumps(make(), pickle.HIGHEST_PROTOCOL)
    name, offset = b"episode_return", RECORD.fields["episode_return"][1]
    where = content.index(name) + len(name)
    where = content.index(bytes([ord("K"), offset]), where)
    (tmp_path / "buffer.pkl").write_bytes(content[: where + 1] + bytes([255]) + content[where + 2 :])
    with pytest.raises(ValueError, match="its table has the columns"):
        read_buffer(tmp_path / "buffer.pkl")


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[:100], lambda c: c[:-50], lambda c: b"x" + c])
def test_a_damaged_file(tmp_path, damage):
    (tmp_path / "buffer.pkl").write_bytes(damage(pickle.dumps(make(), pickle.HIGHEST_PROTOCOL)))
    with pytest.raises(ValueError, match=r"buffer\.pkl is not the file of a replay buffer"):
        read_buffer(tmp_path / "buffer.pkl")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="buffer"):
        read_buffer(tmp_path / "buffer.pkl")
