"""Hand-made files in the layout of D4RL."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac.data import TrajectoryReplayBuffer, load_dataset
from sb3_gac.data.d4rl import read_d4rl

h5py = pytest.importorskip("h5py")


def load_d4rl(path, **spaces_of_env):
    return load_dataset(path, **spaces_of_env).trajectories


def ends(n_steps, *steps):
    return np.isin(np.arange(n_steps), steps)


def fields(**changes):
    """Ten steps: a terminal after step 2, a timeout after step 6, an unfinished rest."""
    steps = np.arange(10, dtype=np.float32)
    made = {
        "observations": np.stack([steps, steps * 10], axis=1),
        "actions": np.linspace(-1, 1, 10, dtype=np.float32)[:, None],
        "rewards": steps / 3,
        "terminals": ends(10, 2),
        "timeouts": ends(10, 6),
        **changes,
    }
    return {name: array for name, array in made.items() if array is not None}


@pytest.fixture
def write(tmp_path):
    def write_file(env_id=None, **changes):
        path = tmp_path / "made.hdf5"
        with h5py.File(path, "w") as file:
            for name, array in fields(**changes).items():
                file[name] = array
            if env_id is not None:
                file.attrs["env_id"] = env_id
        return path

    return write_file


def first_steps(trajectories):
    return [int(trajectory.observations[0, 0]) for trajectory in trajectories]


def test_terminals_timeouts_and_an_unfinished_rest(write):
    trajectories = load_d4rl(write())
    assert first_steps(trajectories) == [0, 3]
    assert [len(trajectory) for trajectory in trajectories] == [3, 4]  # what the rest would have returned is unknown
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    assert [trajectory.truncated for trajectory in trajectories] == [False, True]
    rewards = np.arange(10, dtype=np.float32) / 3
    for trajectory, (start, end) in zip(trajectories, [(0, 3), (3, 7)], strict=True):
        np.testing.assert_array_equal(trajectory.observations, fields()["observations"][start:end])
        np.testing.assert_array_equal(trajectory.actions, fields()["actions"][start:end])
        assert trajectory.total_return == rewards[start:end].astype(np.float64).sum()


def test_a_terminal_at_the_time_limit_counts_as_both(write):
    first, *_ = load_d4rl(write(timeouts=ends(10, 2, 6)))
    assert first.terminated and first.truncated


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_columns_and_other_dtypes(write, dtype):
    flags = {name: fields()[name].astype(dtype)[:, None] for name in ("terminals", "timeouts")}
    assert first_steps(load_d4rl(write(rewards=np.zeros((10, 1)), **flags))) == [0, 3]


def test_without_timeouts_terminals_end(write):
    with pytest.warns(UserWarning, match="no timeouts"):
        assert first_steps(load_d4rl(write(timeouts=None))) == [0]


def test_without_timeouts_jumps_end(write):
    next_observations = fields()["observations"] + np.array([1, 10], dtype=np.float32)
    next_observations[6, 1] = -1
    trajectories = load_d4rl(write(timeouts=None, next_observations=next_observations))
    assert first_steps(trajectories) == [0, 3]
    assert [trajectory.truncated for trajectory in trajectories] == [False, True]
    # No terminal at all: the jump is enough
    trajectories = load_d4rl(write(timeouts=None, terminals=ends(10), next_observations=next_observations))
    assert first_steps(trajectories) == [0]


def test_timeouts_that_are_never_set_are_as_good_as_none(write):
    next_observations = fields()["observations"] + np.array([1, 10], dtype=np.float32)
    next_observations[6, 1] = -1
    never = np.zeros(10, dtype=bool)
    expected = first_steps(load_d4rl(write(timeouts=None, next_observations=next_observations)))
    assert first_steps(load_d4rl(write(timeouts=never, next_observations=next_observations))) == expected
    with pytest.warns(UserWarning, match="no timeouts"):
        assert first_steps(load_d4rl(write(timeouts=never))) == [0]


def test_timeouts_are_believed(write):
    assert first_steps(load_d4rl(write(next_observations=np.zeros((10, 2))))) == [0, 3]


def test_return_only_knows_no_step_reward(write):
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=10)
    shuffled = np.concatenate([rng.permutation(part) for part in np.split(rewards, [3, 7])])
    assert not np.array_equal(rewards, shuffled)
    blind = [[trajectory.return_only() for trajectory in load_d4rl(write(rewards=r))] for r in (rewards, shuffled)]
    for trajectory, other in zip(*blind, strict=True):
        for field in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(trajectory, field), getattr(other, field))
        assert trajectory.rewards[:-1].tolist() == [0.0] * (len(trajectory) - 1)
        assert trajectory.total_return == other.total_return != 0.0


def changed(name, index, value):
    array = fields()[name].astype(np.float32)
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed("observations", (5, 1), np.nan), "trajectory 1: observations at step 2 are not finite"),
        (changed("actions", (5, 0), np.inf), "trajectory 1: actions at step 2 are not finite"),
        (changed("rewards", 0, np.nan), "trajectory 0: rewards at step 0 are not finite"),
        (changed("actions", (4, 0), 1.5), "trajectory 1: actions at step 1 are out of bounds"),
        ({"actions": np.zeros((9, 1))}, r"actions of shape \(9, 1\) beside 10 rewards"),
        ({"observations": np.zeros((11, 2))}, r"observations of shape \(11, 2\) beside 10"),
        ({"terminals": ends(9)}, r"terminals of shape \(9,\) beside 10"),
        ({"timeouts": ends(9)}, r"timeouts of shape \(9,\) beside 10"),
        ({"timeouts": None, "next_observations": np.zeros((9, 2))}, "next_observations of shape"),
        ({"rewards": np.zeros((10, 2))}, r"rewards must have shape \(n_steps,\), not \(10, 2\)"),
        ({"rewards": None}, "the field 'rewards' is missing, there are"),
        ({"terminals": None}, "the field 'terminals' is missing"),
        ({"observations": np.array([b"a"] * 10)}, "observations have dtype"),
        (changed("terminals", 4, np.nan), "terminals at step 4 are not finite"),
        (changed("timeouts", 5, np.nan), "timeouts at step 5 are not finite"),
        (changed("timeouts", 5, 2), "timeouts at step 5 are 2.0, expected 0 or 1"),
        (changed("terminals", 4, 0.5), "terminals at step 4 are 0.5, expected 0 or 1"),
        (changed("terminals", 4, -1), "terminals at step 4 are -1.0, expected 0 or 1"),
        ({"timeouts": None, "next_observations": np.zeros((10, 3))}, r"next_observations of shapes \[\(10, 3\)\] beside"),
        ({"timeouts": None, "next_observations": np.full((10, 2), np.nan)}, "next_observations at step 0 are not finite"),
        ({"observations": np.full((10, 2), 1e300)}, "trajectory 0: observations at step 0 are larger than 1e"),
        (
            {"actions": np.full((10, 1), 2**60)},
            "actions are whole numbers up to 1152921504606846976, no space of at most 65,536",
        ),
        ({"actions": np.full((10, 1), -1)}, "actions are whole numbers up to -1"),
        ({"terminals": np.array([b"a"] * 10)}, "terminals have dtype"),
        ({"timeouts": None, "terminals": ends(10)}, "no episode end anywhere"),
        ({"timeouts": ends(10), "terminals": ends(10)}, "no episode end anywhere"),
        ({name: array[:0] for name, array in fields().items()}, "holds no step"),
        ({name: None for name in fields()}, "is missing"),
    ],
)
def test_bad_data_is_refused(write, changes, message):
    with pytest.raises(ValueError, match=rf"made\.hdf5: .*{message}"):
        load_d4rl(write(**changes))


@pytest.mark.parametrize("n_bytes", [0, 10, 2000, -100])
def test_a_truncated_file_is_refused(write, n_bytes):
    path = write()
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"made\.hdf5: not a readable HDF5 file"):
        load_d4rl(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_d4rl(tmp_path / "nothing.hdf5")
    with pytest.raises(FileNotFoundError):
        read_d4rl(tmp_path)


def test_spaces_of_the_shapes(write):
    observation_space, action_space = read_d4rl(write())[1]
    assert observation_space == spaces.Box(-np.inf, np.inf, (2,))
    assert action_space == spaces.Box(-1, 1, (1,))


def test_the_action_space_is_given(write):
    space = spaces.Box(-2, 2, (1,))
    path = write(actions=np.full((10, 1), 1.9, np.float32))  # beyond [-1, 1]
    assert read_d4rl(path, action_space=space)[1] == (spaces.Box(-np.inf, np.inf, (2,)), space)
    assert [len(trajectory) for trajectory in load_d4rl(path, action_space=space)] == [3, 4]
    assert load_dataset(path, action_space=space).action_space == space
    whole = write(actions=np.ones((10, 2), np.int64))
    with pytest.raises(ValueError, match=r"made\.hdf5: actions of type int64 and shape \(2,\) may be"):
        load_d4rl(whole)
    assert len(load_d4rl(whole, action_space=spaces.MultiDiscrete([2, 2]))) == 2


def test_the_env_that_a_file_names_is_not_built(write, tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("raise SystemExit('code of the file was run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gym, "make", lambda *args, **kwargs: pytest.fail("an environment was built"))
    for env_id in ("theirs:Env-v0", "Pendulum-v1", "Unheard-of-v7", ":Env-v0", ""):
        assert read_d4rl(write(env_id=env_id))[1] == read_d4rl(write())[1]


@pytest.mark.parametrize(
    ("name", "values", "space", "message"),
    [
        ("observations", np.full((10, 2), 300), spaces.Box(0, 100, (2,), np.int8), "300"),  # would be 44
        ("observations", np.full((10, 2), 300, np.uint16), spaces.Box(0, 255, (2,), np.uint8), "300"),
        ("observations", np.full((10, 2), 2**24 + 1), spaces.Box(-np.inf, np.inf, (2,)), "16777217"),
        ("observations", np.full((10, 2), 70_000.0), spaces.Box(-1, 1, (2,), np.float16), "70000"),  # would be infinite
        ("actions", np.full((10, 1), 2**32), spaces.Discrete(3), "4294967296"),
        ("actions", np.full((10, 1), 2**63, np.uint64), spaces.Discrete(3), "9223372036854775808"),
    ],
)
def test_values_that_the_space_of_the_model_cannot_hold(write, name, values, space, message):
    path = write(**{name: values})
    whole = {f"{name.removesuffix('s')}_space": space}
    for data in (path, fields(**{name: values})):
        with pytest.raises(ValueError, match=rf"trajectory 0: {name} at step 0 are out of bounds: .*{message}"):
            load_dataset(data, **whole)


def test_whole_numbers_are_kept(write):
    values = np.full((10, 2), 2**24 + 1)
    dataset = load_dataset(write(observations=values))
    buffer = TrajectoryReplayBuffer(10, dataset.observation_space, dataset.action_space)
    buffer.add_trajectory(dataset.trajectories[0])
    np.testing.assert_array_equal(buffer.observations[:3, 0], values[:3])


def test_spaces_of_the_model_count(write):
    """Nothing is guessed where they are known: single numbers are no box."""
    path = write(observations=np.arange(10) % 3, actions=np.arange(10)[:, None] % 2)
    known = spaces.Discrete(3), spaces.Discrete(5)
    dataset = load_dataset(path, *known)
    assert (dataset.observation_space, dataset.action_space) == known
    with pytest.raises(ValueError, match=r"made\.hdf5: .* observations must have a dimension"):
        load_d4rl(path)


class TestArrays:
    """What D4RL's and d3rlpy's users have."""

    def test_as_from_a_file(self, write):
        for changes in ({}, {"rewards": np.ones((10, 1))}, {"terminals": ends(10, 2).astype(np.float32)}):
            dataset, expected = load_dataset(fields(**changes)), load_dataset(write(**changes))
            assert dataset.name == "dict of arrays"
            assert (dataset.observation_space, dataset.action_space) == (expected.observation_space, expected.action_space)
            for one, other in zip(dataset.trajectories, expected.trajectories, strict=True):
                assert (one.terminated, one.truncated) == (other.terminated, other.truncated)
                for name in ("observations", "actions", "rewards"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))

    def test_other_fields_stay_unread(self):
        changes = {"next_observations": np.array([None]), "infos/qpos": "no array", 3: None}
        assert first_steps(load_dataset(fields() | changes | {"next_observations": None}).trajectories) == [0, 3]

    def test_lists(self):
        assert first_steps(load_dataset({name: array.tolist() for name, array in fields().items()}).trajectories) == [0, 3]

    def test_dicts_of_observations(self):
        parts = {"a": np.arange(10.0)[:, None], "b": np.zeros((10, 4, 4, 3), np.uint8)}
        following = {"a": parts["a"] + 1, "b": parts["b"]}
        following["a"][5] = 0
        dataset = load_dataset(fields(observations=parts, next_observations=following, timeouts=None))
        assert [len(trajectory) for trajectory in dataset.trajectories] == [3, 3]
        assert dataset.trajectories[1].observations["a"][:, 0].tolist() == [3, 4, 5]
        with pytest.raises(ValueError, match=r"next_observations of shapes \[\(10, 1\)\] beside observations of shapes"):
            load_dataset(fields(observations=parts, next_observations=parts["a"], timeouts=None))

    def test_without_ends(self):
        with pytest.warns(UserWarning, match="dict of arrays holds no timeouts"):
            assert first_steps(load_dataset(fields(timeouts=None)).trajectories) == [0]
        with pytest.raises(ValueError, match="dict of arrays: no episode end anywhere"):
            load_dataset(fields(timeouts=None, terminals=np.zeros(10)))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"rewards": None},
                r"the field 'rewards' is missing, there are \['actions', 'observations', 'terminals', 'timeouts'\]",
            ),
            ({"actions": np.zeros((9, 1))}, r"actions of shape \(9, 1\) beside 10 rewards"),
            ({"observations": {"a": np.zeros((9, 2))}}, r"observations\['a'\] of shape \(9, 2\) beside 10 rewards"),
            ({"rewards": np.zeros(())}, r"rewards must have shape \(n_steps,\), not \(\)"),
            ({"rewards": np.zeros(0), "terminals": np.zeros(0)}, r"observations of shape \(10, 2\) beside 0 rewards"),
            ({"timeouts": np.array(["a"] * 10)}, "timeouts have dtype <U1, numbers are needed"),
            ({"observations": [[1, 2], [3]]}, "observations: .*inhomogeneous"),
            ({"observations": [None] * 10}, "observations have dtype object, numbers are needed"),
            (changed("actions", (4, 0), 1.5), "trajectory 1: actions at step 1 are out of bounds"),
            (changed("observations", (5, 1), np.nan), "trajectory 1: observations at step 2 are not finite"),
        ],
    )
    def test_bad_ones_are_refused(self, changes, message):
        with pytest.raises(ValueError, match=f"dict of arrays: {message}"):
            load_dataset(fields(**changes))

    def test_a_model_learns_from_them(self, small_gac):
        model = small_gac().learn_offline(fields(), 2)
        assert model.offline_buffer.lengths.tolist() == [3, 4]


class TestElsewhere:
    """What stands in a file is read from it, and from no other."""

    @pytest.fixture
    def other(self, tmp_path):
        path = tmp_path / "other.hdf5"
        with h5py.File(path, "w") as file:
            file["rewards"] = np.zeros(10, dtype=np.float32)
        (tmp_path / "numbers").write_bytes(bytes(40))
        return path

    @pytest.mark.parametrize("name", ["rewards", "timeouts", "infos"])
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda folder: h5py.SoftLink("/actions"), "is a link"),
            (lambda folder: h5py.SoftLink("/nowhere"), "is a link"),
            (lambda folder: h5py.ExternalLink(str(folder / "other.hdf5"), "rewards"), "is a link"),
        ],
    )
    def test_links(self, write, other, name, make, message):
        path = write(**({} if name == "infos" else {name: None}))
        with h5py.File(path, "a") as file:
            file[name] = make(path.parent)
        with pytest.raises(ValueError, match=rf"made\.hdf5: the field '{name}' {message}"):
            load_d4rl(path)

    def test_a_second_name(self, write):
        path = write(terminals=None)
        with h5py.File(path, "a") as file:
            file["terminals"] = file["timeouts"]
        with pytest.raises(ValueError, match=r"made\.hdf5: the field 't\w+' is a link"):
            load_d4rl(path)
        with h5py.File(path, "a") as file:
            del file["terminals"]
            file.create_group("infos")["self"] = file["/"]
        with pytest.raises(ValueError, match=r"made\.hdf5: the field 'infos/self' is a link"):
            load_d4rl(path)

    def test_values_in_another_file(self, write, other):
        path = write(rewards=None)
        with h5py.File(path, "a") as file:
            file.create_dataset("rewards", (10,), np.float32, external=[(str(other.parent / "numbers"), 0, 40)])
        with pytest.raises(ValueError, match=r"made\.hdf5: the values of 'rewards' stand in another file"):
            load_d4rl(path)
        with h5py.File(path, "a") as file:
            del file["rewards"]
            layout = h5py.VirtualLayout((10,), np.float32)
            layout[:] = h5py.VirtualSource(str(other), "rewards", shape=(10,))
            file.create_virtual_dataset("rewards", layout)
        with pytest.raises(ValueError, match=r"made\.hdf5: the values of 'rewards' stand in another file"):
            load_d4rl(path)


@pytest.mark.parametrize(("n_steps", "compression"), [(10**12, None), (3 * 10**8, None), (3 * 10**8, "gzip")])
def test_claims_that_the_file_does_not_hold(write, n_steps, compression):
    path = write(**{name: None for name in fields()})
    with h5py.File(path, "a") as file:
        for name, shape in {"observations": (2,), "actions": (1,), "rewards": (), "terminals": (), "timeouts": ()}.items():
            file.create_dataset(name, (n_steps, *shape), "f4", chunks=True, compression=compression)
    with pytest.raises(ValueError, match=rf"made\.hdf5: rewards claims the shape \({n_steps},\) in a file of .* bytes"):
        load_d4rl(path)


def test_a_group_and_nothing_for_a_field(write):
    path = write(rewards=None, timeouts=None)
    with h5py.File(path, "a") as file:
        file.create_group("rewards")
    with pytest.raises(ValueError, match=r"made\.hdf5: the field 'rewards' is missing"):
        load_d4rl(path)
    for value, message in [(h5py.Empty("f4"), r"must have shape \(n_steps,\)"), (np.float32(1), "must have shape")]:
        with pytest.raises(ValueError, match=rf"made\.hdf5: rewards {message}"):
            load_d4rl(write(rewards=value))


def test_h5py_is_missing(write, monkeypatch):
    path = write()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"\.\[data\]"):
        load_d4rl(path)
