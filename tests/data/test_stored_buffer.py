"""Files of replay buffers come back as they were; what is damaged or cannot be is refused, whatever the checksum says."""

import io
import json
import tracemalloc

import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac.data import TrajectoryReplayBuffer, stored_buffer
from sb3_gac.data.stored_buffer import read_buffer, write_buffer
from sb3_gac.data.table import RECORD

BOX = spaces.Box(-1, 1, (2,), np.float32)
MIXED = spaces.Dict({"b": BOX, "a": spaces.Discrete(3), "image": spaces.Box(0, 255, (4, 4, 3), np.uint8)})


class Own(TrajectoryReplayBuffer):
    """A buffer of the user's own."""


def empty(observation_space=BOX, action_space=BOX, cls=TrajectoryReplayBuffer, buffer_size=100, n_envs=2):
    return cls(buffer_size, observation_space, action_space, n_envs=n_envs, device="cpu")


def make(observation_space=BOX, action_space=BOX, n_steps=33, episode=5, **kwargs):
    """Two environments whose episodes have five steps, the reward of each of which is its number."""
    buffer = empty(observation_space, action_space, **kwargs)
    observation_space.seed(0)
    for step in range(n_steps):
        samples = [observation_space.sample() for _ in range(buffer.n_envs)]
        is_dict = isinstance(observation_space, spaces.Dict)
        obs = {key: np.stack([s[key] for s in samples]) for key in samples[0]} if is_dict else np.stack(samples)
        actions = np.stack([action_space.sample() for _ in samples]).reshape(len(samples), -1)
        done = np.full(len(samples), step % episode == episode - 1)
        buffer.add(obs, obs, actions, np.full(len(samples), step), done, [{} for _ in samples])
    if n_steps > 0:
        indices = buffer.steps().indices
        # Of the steps of open trajectories the advantages are not known
        buffer.set_credit(indices, np.linspace(0.1, 2.0, len(indices)), np.linspace(-2.0, 2.0, len(indices)))
    return buffer


def assert_same(back, buffer):
    assert vars(back).keys() == vars(buffer).keys() and type(back) is type(buffer)
    for name in ("n_envs", "buffer_size", "capacity", "n_rows", "pos", "full", "observation_space", "action_space", "device"):
        assert getattr(back, name) == getattr(buffer, name), name
    for name, array in buffer._arrays().items():
        np.testing.assert_array_equal(back._arrays()[name], array)
        assert back._arrays()[name].dtype == array.dtype
    assert back._table.alive.dtype == RECORD
    np.testing.assert_array_equal(back._table.alive, buffer._table.alive)
    np.testing.assert_array_equal(back._open, buffer._open)


@pytest.mark.parametrize("observation_space", [BOX, MIXED, spaces.MultiBinary([2, 2]), spaces.MultiDiscrete([3, 2])])
@pytest.mark.parametrize("action_space", [BOX, spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)])
def test_it_comes_back(tmp_path, observation_space, action_space):
    buffer = make(observation_space, action_space)
    write_buffer(tmp_path / "buffer", buffer)
    back = read_buffer(tmp_path / "buffer", empty(observation_space, action_space))
    assert_same(back, buffer)
    batches = []
    for either in (buffer, back):
        np.random.seed(0)
        batches.append(either.sample(4))
    assert all((a == b).all() for a, b in zip(batches[0][1:], batches[1][1:], strict=True) if not isinstance(a, dict))
    np.testing.assert_array_equal(back.steps().ids, buffer.steps().ids)


@pytest.mark.parametrize("n_steps", [0, 1, 50, 51, 333])
def test_whatever_has_been_overwritten(tmp_path, n_steps):
    buffer = make(n_steps=n_steps, episode=7)
    write_buffer(tmp_path / "buffer", buffer)
    back = read_buffer(tmp_path / "buffer", make(n_steps=3))  # what the model had before is not mixed in
    assert_same(back, buffer)
    for either in (buffer, back):  # and it goes on as the other
        for step in range(30):
            ends = np.full(2, step % 4 == 3)
            either.add(np.full((2, 2), step), None, np.zeros((2, 2)), np.ones(2), ends, [{}, {}])
    assert_same(back, buffer)


@pytest.mark.parametrize("episode", [5, 1000])
def test_any_library_reads_the_arrays(tmp_path, episode):
    safetensors = pytest.importorskip("safetensors.numpy")
    buffer = make(MIXED, episode=episode)
    write_buffer(tmp_path / "buffer.safetensors", buffer)
    arrays = safetensors.load_file(tmp_path / "buffer.safetensors")
    for name, array in buffer._arrays().items():
        np.testing.assert_array_equal(arrays[name], array[:33])
    assert arrays["episode_return"].tolist() == buffer._table.alive["episode_return"].tolist()
    assert arrays["action_high"].tolist() == [1, 1]


def test_open_files(tmp_path):
    stream = io.BytesIO(b"before")
    stream.seek(0, io.SEEK_END)
    write_buffer(stream, make())
    stream.seek(len(b"before"))
    back = read_buffer(stream, empty())
    assert back.size() == 33 and not stream.closed
    with pytest.raises(ValueError, match=r"BytesIO object .* is not a replay buffer .*: its header has 0 bytes"):
        read_buffer(stream, empty())


def test_a_class_of_ones_own(tmp_path):
    write_buffer(tmp_path / "buffer", make(cls=Own))
    assert type(read_buffer(tmp_path / "buffer", empty(cls=Own))) is Own
    assert type(read_buffer(tmp_path / "buffer", empty())) is TrajectoryReplayBuffer


class TestAnotherSize:
    @pytest.mark.parametrize("buffer_size", [70, 100, 1000])
    def test_what_fits_comes_as_it_is(self, tmp_path, buffer_size):
        buffer = make()
        write_buffer(tmp_path / "buffer", buffer)
        back = read_buffer(tmp_path / "buffer", empty(buffer_size=buffer_size))
        assert (back.buffer_size, back.size(), back.n_transitions) == (buffer_size // 2, 33, 60)
        assert back.has_open_trajectories
        np.testing.assert_array_equal(back.observations[:33], buffer.observations[:33])

    def test_a_smaller_one_keeps_the_newest(self, tmp_path):
        write_buffer(tmp_path / "buffer", make())
        with pytest.warns(UserWarning, match="8 of 12 trajectories do not fit a buffer of 2 envs, 10 steps each"):
            back = read_buffer(tmp_path / "buffer", empty(buffer_size=20))
        assert back.buffer_size == 10 and sorted(back.returns) == [110, 110, 135, 135]

    def test_a_ring_that_has_gone_round(self, tmp_path):
        buffer = make(n_steps=333)
        write_buffer(tmp_path / "buffer", buffer)
        back = read_buffer(tmp_path / "buffer", empty(buffer_size=1000))
        assert back.buffer_size == 500 and sorted(back.returns) == sorted(buffer.returns)

    def test_other_envs(self, tmp_path):
        buffer = make()
        write_buffer(tmp_path / "buffer", buffer)
        back = read_buffer(tmp_path / "buffer", empty(n_envs=3))
        assert (back.n_envs, back.buffer_size) == (3, 33) and sorted(back.returns) == sorted(buffer.returns)


def rewrite(path, change=lambda header, arrays: None):
    """Change what stands in a file, and note the right checksum and sizes."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    codes = {code: name for name, code in stored_buffer._CODES.items()}
    arrays = {
        name: np.frombuffer(content[end:][slice(*entry["data_offsets"])], codes[entry["dtype"]]).reshape(entry["shape"]).copy()
        for name, entry in header.items()
        if name != "__metadata__"
    }
    metadata = header["__metadata__"]
    change(metadata, arrays)
    fields = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    header = stored_buffer._header({}, fields)
    metadata.pop("sha256")
    header["__metadata__"] = metadata
    header["__metadata__"]["sha256"] = stored_buffer._digest(header, arrays.values())
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values()))
    return path


def put(name, index, value):
    def change(metadata, arrays):
        arrays[name][index] = value

    return change


def say(**said):
    return lambda metadata, arrays: metadata.update(said)


def test_a_file_that_is_rewritten(tmp_path):
    write_buffer(tmp_path / "buffer", make())
    before = read_buffer(tmp_path / "buffer", empty())
    assert_same(read_buffer(rewrite(tmp_path / "buffer"), empty()), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (say(format="sb3_gac replay buffer 2"), "does not say 'sb3_gac replay buffer 1'"),
        (say(n_envs="0"), "n_envs is '0', expected a whole number from 1 "),
        (say(n_rows="-1"), "n_rows is '-1', expected a whole number from 0 "),
        (say(n_rows=33), "n_rows is '33', expected"),
        (say(n_rows="9" * 5000), "n_rows is '999"),
        (say(first_id=str(2**63)), "first_id is '9223"),
        (say(n_rows=str(10**15), buffer_size=str(10**15)), "observations is .* expected .*1000000000000000, 2, 2"),
        (say(n_envs=str(10**15)), "observations is .* expected .*33, 1000000000000000, 2"),
        (say(n_trajectories=str(10**15)), "column is .* expected .*1000000000000000"),
        (say(more="1"), "__metadata__ is "),
        (lambda metadata, arrays: arrays.pop("weights"), "it has the arrays .* expected .*weights"),
        (lambda metadata, arrays: arrays.update(more=np.zeros(1)), "it has the arrays .*more"),
        (lambda metadata, arrays: arrays.update(rewards=arrays["rewards"].astype(float)), "rewards is .*F64.* expected .*F32"),
        (lambda metadata, arrays: arrays.update(rewards=arrays["rewards"][1:]), r"rewards is .*\[32, 2\].*, expected .*33, 2"),
        (put("rewards", (3, 1), np.nan), "rewards at step 7 are not finite"),
        (put("weights", (3, 1), np.nan), "weights at step 7 are not finite"),
        (put("advantages", (3, 1), np.inf), "advantages at step 7 are not finite"),
        (put("observations", 3, np.inf), "observations at step 6 are not finite"),
        (put("observations", 0, 1e30), "observations at step 0 are larger than 1e"),
        (put("actions", 3, np.nan), "actions at step 6 are not finite"),
        (put("weights", 3, -1), "weights are -1.0 to "),
        (put("dones", 3, 2), "dones are 0.0 to 2.0"),
        (put("action_high", 0, 2), r"action_high is \[2. 1.\], that of the actions here is \[1. 1.\]"),
        (put("column", 4, 2), "trajectory 4 cannot be: .*'column': 2"),
        (put("column", 4, -1), "trajectory 4 cannot be"),
        (put("column", 4, 1), "trajectory 5 cannot be"),  # over another
        (put("start", 13, 34), "trajectory 13 cannot be: .*'start': 34"),
        (put("start", 0, -1), "trajectory 0 cannot be"),
        (put("start", 4, 0), "trajectory 4 cannot be"),
        (put("length", 0, 6), "trajectory 2 cannot be"),  # into the next one
        (put("length", 13, 4), "trajectory 13 cannot be"),  # beyond the rows
        (put("length", 0, 2**63 - 1), "trajectory 0 cannot be"),
        (put("length", 0, 0), "trajectory 0 cannot be"),
        (put("episode_return", 1, np.nan), "trajectory 1 cannot be: .*nan"),
        (put("open", 0, 11), r"the trajectories \[11 13\] are not open"),
        (put("open", 0, 13), r"the trajectories \[13 13\] are not open"),
        (put("open", 0, 14), r"the trajectories \[14 13\] are not open"),
        (put("open", 0, -2), r"the trajectories \[-2 13\] are not open"),
    ],
)  # fmt: skip
def test_what_cannot_be(tmp_path, change, message):
    write_buffer(tmp_path / "buffer", make())
    with pytest.raises(ValueError, match=rf"buffer is not a replay buffer that can be loaded: (its header )?{message}"):
        read_buffer(rewrite(tmp_path / "buffer", change), empty())


@pytest.mark.parametrize(
    ("observation_space", "action_space", "name", "value"),
    [
        (spaces.Dict({"a": spaces.Discrete(3)}), BOX, "observations['a']", 3),
        (spaces.MultiDiscrete([3, 2]), BOX, "observations", 2),
        (spaces.MultiBinary(2), BOX, "observations", 2),
        (BOX, spaces.Discrete(3), "actions", -1),
        (BOX, spaces.MultiDiscrete([2, 3]), "actions", 2),
    ],
)
def test_numbers_that_are_none_of_a_space(tmp_path, observation_space, action_space, name, value):
    write_buffer(tmp_path / "buffer", make(observation_space, action_space))
    rewrite(tmp_path / "buffer", put(name, (2, 1), value))
    with pytest.raises(ValueError, match=r"at step 5 are out of bounds"):
        read_buffer(tmp_path / "buffer", empty(observation_space, action_space))


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Box(-1, 1, (3,), np.float32), BOX, r"observations is .*\[33, 2, 2\].* expected .*\[33, 2, 3\]"),
        (spaces.Box(-1, 1, (2,), np.float64), BOX, "observations is .*F32.* expected .*F64"),
        (MIXED, BOX, "it has the arrays"),
        (BOX, spaces.Discrete(2), "it has the arrays"),
        (BOX, spaces.Box(-1, 2, (2,), np.float32), r"action_high is \[1. 1.\], that of the actions here is \[2. 2.\]"),
    ],
)
def test_other_spaces(tmp_path, observation_space, action_space, message):
    write_buffer(tmp_path / "buffer", make())
    with pytest.raises(ValueError, match=message):
        read_buffer(tmp_path / "buffer", empty(observation_space, action_space))


def test_each_byte_counts(tmp_path):
    path = tmp_path / "buffer"
    write_buffer(path, make(n_steps=4))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in [*range(8), *rng.integers(8, len(content), 150)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            back = read_buffer(path, empty())
        except ValueError as error:
            assert f"{path} is not a replay buffer that can be loaded: " in str(error)
        else:  # another kind of space between two words
            assert damaged[place : place + 1].isspace()
            assert_same(back, make(n_steps=4))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: b"", "its header has 0 bytes, expected at most 0"),
        (lambda c: c[:100], "its header has .* bytes, expected at most 92"),
        (lambda c: c[:-50], "bytes follow its header, expected .*: it is cut short or damaged"),
        (lambda c: c + b"x", "bytes follow its header"),
        (lambda c: b"x" + c, "its header has"),
        (lambda c: b"\x80\x05" + c, "its header has"),
        (lambda c: (4).to_bytes(8, "little") + b"[[[[", "its header is no JSON"),
        (lambda c: (10**5).to_bytes(8, "little") + b"[" * 10**5, "its header is no JSON"),
        (lambda c: (4).to_bytes(8, "little") + b"null", "does not say"),
    ],
)
def test_a_damaged_file(tmp_path, damage, message):
    write_buffer(tmp_path / "buffer", make())
    (tmp_path / "buffer").write_bytes(damage((tmp_path / "buffer").read_bytes()))
    with pytest.raises(ValueError, match=rf"buffer is not a replay buffer that can be loaded: .*{message}"):
        read_buffer(tmp_path / "buffer", empty())


def test_no_memory_is_taken_for_what_is_claimed(tmp_path):
    path = tmp_path / "buffer"
    write_buffer(path, make())
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"].update(n_rows=str(10**8), buffer_size=str(10**8))
    sizes = {name: (array.dtype, (10**8, *array.shape[1:])) for name, array in make()._arrays().items()}
    for name, entry in stored_buffer._header({}, sizes).items():
        header[name].update(entry) if name != "__metadata__" else None
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    tracemalloc.start()
    with pytest.raises(ValueError, match="is not a replay buffer that can be loaded"):
        read_buffer(path, empty())
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"buffer\.safetensors"):
        read_buffer(tmp_path / "buffer", empty())
