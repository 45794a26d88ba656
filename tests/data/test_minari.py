"""Minari data sets made on the spot."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac.data import load_dataset
from sb3_gac.data.minari import open_minari

minari = pytest.importorskip("minari")
h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
from minari.data_collector import EpisodeBuffer  # noqa: E402


def load_minari(data):
    return load_dataset(data).trajectories


SPACES = (spaces.Box(-9, 9, (2,), np.float64), spaces.Box(-2, 2, (1,), np.float32))


@pytest.fixture(autouse=True)
def datasets_path(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def episode(n_steps=3, terminated=True, truncated=False, **changes) -> EpisodeBuffer:
    """Observation t is (t, 0); there is one more than there are actions."""
    flags = np.zeros((2, n_steps), dtype=bool)
    flags[:, -1:] = [[terminated], [truncated]]
    fields = {
        "observations": np.stack([np.arange(n_steps + 1.0), np.zeros(n_steps + 1)], axis=1),
        "actions": np.linspace(-2, 2, n_steps, dtype=np.float32)[:, None],
        "rewards": np.arange(n_steps) / 3,
        "terminations": flags[0],
        "truncations": flags[1],
        **changes,
    }
    return EpisodeBuffer(**fields)


def make_dataset(episodes, dataset_id="made/up-v0", observation_space=SPACES[0], action_space=SPACES[1], **kwargs):
    return minari.create_dataset_from_buffers(
        dataset_id, episodes, observation_space=observation_space, action_space=action_space, **kwargs
    )


def test_id_path_or_dataset(datasets_path):
    dataset = make_dataset([episode(3), episode(5, terminated=False, truncated=True), episode(2, terminated=False)])
    sources = ["made/up-v0", datasets_path / "made/up-v0", str(datasets_path / "made/up-v0/data"), dataset]
    for source in sources:
        trajectories = load_minari(source)
        assert [len(trajectory) for trajectory in trajectories] == [3, 5, 2]
        assert [trajectory.terminated for trajectory in trajectories] == [True, False, False]
        # A recording that was stopped was truncated
        assert [trajectory.truncated for trajectory in trajectories] == [False, True, True]
        assert trajectories[1].total_return == pytest.approx(10 / 3, rel=1e-15)
        np.testing.assert_array_equal(trajectories[1].observations[:, 0], np.arange(5))
        np.testing.assert_array_equal(trajectories[1].actions[:, 0], np.linspace(-2, 2, 5, dtype=np.float32))
        dataset = load_dataset(source)
        assert (dataset.observation_space, dataset.action_space) == SPACES


def test_a_data_set_in_another_format_that_the_caller_has_opened(monkeypatch):
    dataset = make_dataset([episode(3), episode(5)])
    monkeypatch.setattr(type(dataset.storage), "FORMAT", "arrow")
    assert [len(trajectory) for trajectory in load_minari(dataset)] == [3, 5]


def test_filtered_dataset():
    dataset = make_dataset([episode(n_steps) for n_steps in (3, 5, 2)])
    filtered = dataset.filter_episodes(lambda episode: len(episode) > 2)
    assert [len(trajectory) for trajectory in load_minari(filtered)] == [3, 5]


def test_recorded_from_an_env():
    env = gym.make("CartPole-v1", max_episode_steps=20)
    episodes, returns = [], []
    for seed in range(4):
        observations, actions, rewards, ended = [env.reset(seed=seed)[0]], [], [], (False, False)
        while not any(ended):
            actions.append(int(observations[-1][2] > 0) if seed else 1)
            observation, reward, *ended, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
        flags = {"terminations": len(rewards) * [False], "truncations": len(rewards) * [False]}
        flags["terminations"][-1], flags["truncations"][-1] = ended
        episodes.append(EpisodeBuffer(observations=observations, actions=actions, rewards=rewards, **flags))
        returns.append(sum(rewards))
    minari.create_dataset_from_buffers("cartpole/made-v0", episodes, env="CartPole-v1")
    trajectories = load_minari("cartpole/made-v0")
    assert [trajectory.total_return for trajectory in trajectories] == returns
    assert {trajectory.truncated for trajectory in trajectories} == {True, False}
    dataset = load_dataset("cartpole/made-v0")
    assert (dataset.observation_space, dataset.action_space) == (env.observation_space, env.action_space)


def test_dict_observations():
    """As those of the point mazes."""
    space = spaces.Dict({key: spaces.Box(-9, 9, (2,)) for key in ("observation", "achieved_goal", "desired_goal")})
    observations = {key: np.full((4, 2), i, dtype=np.float32) for i, key in enumerate(space.spaces)}
    make_dataset([episode(observations=observations)], observation_space=space)
    (trajectory,) = load_minari("made/up-v0")
    for i, key in enumerate(space.spaces):
        assert (trajectory.observations[key] == i).all() and trajectory.observations[key].shape == (3, 2)


def test_a_key_that_the_space_lacks(datasets_path):
    space = spaces.Dict({"a": spaces.Box(-9, 9, (2,))})
    make_dataset([episode(observations={"a": np.zeros((4, 2), np.float32)})], observation_space=space)
    with h5py.File(datasets_path / "made" / "up-v0" / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/observations/b"] = np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"keys \['a'\], episode_0/observations has others: \['b'\]"):
        load_minari("made/up-v0")


def test_images_and_discrete_actions():
    images = np.random.default_rng(0).integers(0, 255, (4, 40, 36, 3), dtype=np.uint8)
    space = spaces.Box(0, 255, (40, 36, 3), np.uint8)
    made = episode(observations=images, actions=np.array([0, 2, 1]))
    make_dataset([made], observation_space=space, action_space=spaces.Discrete(3), jpeg_encoding=False)
    (trajectory,) = load_minari("made/up-v0")
    np.testing.assert_array_equal(trajectory.observations, images[:3])
    assert trajectory.actions.tolist() == [0, 2, 1]


def test_return_only_knows_no_step_reward():
    rewards = np.random.default_rng(0).normal(size=6)
    make_dataset([episode(6, rewards=rewards)], "one/made-v0")
    make_dataset([episode(6, rewards=np.sort(rewards))], "two/made-v0")
    a, b = (load_minari(name)[0].return_only() for name in ("one/made-v0", "two/made-v0"))
    assert a.rewards.tolist() == b.rewards.tolist() == [0] * 5 + [a.total_return]
    assert a.total_return == pytest.approx(rewards.sum())


def changed(name, index, value):
    array = np.array(getattr(episode(), name), dtype=np.float64)
    array[index] = value
    return episode(**{name: array})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed("observations", (1, 0), np.nan), "observations at step 1 are not finite"),
        (changed("actions", (2, 0), np.inf), "actions at step 2 are not finite"),
        (changed("rewards", 0, np.nan), "rewards at step 0 are not finite"),
        (changed("actions", (2, 0), 2.1), "actions at step 2 are out of bounds"),
        (episode(observations=np.zeros((4, 3))), r"observations of shape \(3,\) and dtype float64 do not fit"),
        (episode(actions=np.zeros((2, 1))), r"actions of shape \(2, 1\) beside 3 rewards"),
        (episode(observations=np.zeros((2, 2))), r"observations of shape \(2, 2\) beside 3 rewards"),
        (episode(observations=np.zeros((9, 2))), r"observations of shape \(9, 2\) beside 3 rewards: one row more is needed"),
        (episode(terminations=[False, True, True]), "terminations at step 1 are set, 2 is the last step"),
        (episode(truncations=[True, False, False]), "truncations at step 0 are set, 2 is the last step"),
        (episode(terminations=[False, 3, True]), "terminations at step 1 are 3, expected 0 or 1"),
        (episode(truncations=[np.nan] * 3), "truncations at step 0 are not finite"),
        (episode(truncations=[False] * 2), r"truncations of shape \(2,\) beside 3 rewards: one per step is needed"),
    ],
)
def test_bad_data_is_refused(bad, message):
    make_dataset([episode(), bad])
    with pytest.raises(ValueError, match=f"made/up-v0: trajectory 1: {message}"):
        load_minari("made/up-v0")


def test_an_empty_episode(datasets_path):
    make_dataset([episode(), episode()])
    with h5py.File(datasets_path / "made/up-v0/data/main_data.hdf5", "a") as file:
        for name, shape in {"actions": (0, 1), "rewards": 0, "terminations": 0, "truncations": 0}.items():
            del file["episode_1"][name]
            file["episode_1"][name] = np.zeros(shape)
    with pytest.raises(ValueError, match="made/up-v0: trajectory 1: a trajectory has at least one step"):
        load_minari("made/up-v0")


def test_no_episode():
    make_dataset([])
    with pytest.raises(ValueError, match="made/up-v0: no trajectory"):
        load_minari("made/up-v0")


def test_spaces_that_are_not_supported():
    space = spaces.Tuple([SPACES[0], SPACES[0]])
    observations = (np.zeros((4, 2)), np.zeros((4, 2)))
    make_dataset([episode(observations=observations)], observation_space=space)
    with pytest.raises(ValueError, match=r"made/up-v0: .*the space Tuple.* is not supported"):
        load_minari("made/up-v0")


def test_truncated_files(datasets_path):
    make_dataset([episode(), episode()])
    data, metadata = (datasets_path / "made/up-v0/data" / name for name in ("main_data.hdf5", "metadata.json"))
    intact = data.read_bytes()
    for n_bytes in (0, 1000, len(intact) - 100):
        data.write_bytes(intact[:n_bytes])
        with pytest.raises(ValueError, match=r"made/up-v0: (not a readable HDF5 file, it may be truncated|.*has 0 bytes)"):
            load_minari("made/up-v0")
    data.write_bytes(intact)
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "total_episodes": 3}))
    for n_episodes in (3, 1):
        metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "total_episodes": n_episodes}))
        message = rf"made/up-v0: metadata\.json tells of {n_episodes} episodes, main_data\.hdf5 has 2"
        with pytest.raises(ValueError, match=message):
            load_minari("made/up-v0")
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "total_episodes": 2}))
    with h5py.File(data, "a") as file:
        del file["episode_1/actions"]
    with pytest.raises(ValueError, match="made/up-v0: the field 'episode_1/actions' is missing"):
        load_minari("made/up-v0")
    metadata.write_text("{")
    with pytest.raises(ValueError, match="made"):
        load_minari(datasets_path / "made/up-v0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "observation_space is missing, expected a str"),
        ('{"observation_space": 3}', "observation_space is '3', expected a str"),
        ("[]", "is no object"),
        ("", "Expecting value"),
        ("no JSON", "Expecting value"),
    ],
)
def test_a_damaged_description(datasets_path, content, message):
    make_dataset([episode()])
    next(datasets_path.rglob("metadata.json")).write_text(content)
    for source in (datasets_path / "made/up-v0", "made/up-v0"):
        with pytest.raises(ValueError, match=rf"made/up-v0: metadata\.json: .*{message}"):
            load_minari(source)


class TestAnEnvironmentThatTheFilesName:
    """It is not built, whatever is missing beside it."""

    @pytest.fixture
    def proof(self, tmp_path):
        return tmp_path / "ran"

    @pytest.fixture
    def folder(self, datasets_path):
        make_dataset([episode()])
        return datasets_path / "made/up-v0"

    @pytest.fixture
    def spec(self, proof):
        entry_point, kwargs = "subprocess:check_output", {"args": ["touch", str(proof)]}
        wrapper = gym.envs.registration.WrapperSpec("Theirs", "subprocess:check_output", kwargs)
        return gym.envs.registration.EnvSpec(
            "Theirs-v0", entry_point=entry_point, kwargs=kwargs, additional_wrappers=(wrapper,)
        ).to_json()

    @pytest.mark.parametrize("lacking", [(), ("observation_space",), ("action_space",), ("observation_space", "action_space")])
    @pytest.mark.parametrize("key", ["env_spec", "eval_env_spec"])
    @pytest.mark.parametrize("by", ["path", "id", "download"])
    def test_nothing_runs(self, folder, spec, proof, monkeypatch, lacking, key, by):
        change(folder, **{key: spec}, **dict.fromkeys(lacking, REMOVED))
        if by == "download":
            aside = folder.rename(folder.with_name("aside"))
            monkeypatch.setattr("minari.storage.hosting.download_dataset", lambda _: aside.rename(folder))
        source = str(folder) if by == "path" else "made/up-v0"
        for read in (load_minari, load_dataset, open_minari):
            if lacking:
                with pytest.raises(ValueError, match=rf"{source}: metadata\.json: {lacking[0]} is missing, expected a str"):
                    read(source)
            else:
                read(source)
        assert not proof.exists()

    @pytest.mark.parametrize("space", [3, None, "null", "{}", '{"type": "Unheard"}', '{"type": ["Box"]}', "[1"])
    def test_a_space_of_another_type(self, folder, spec, proof, space):
        change(folder, env_spec=spec, observation_space=space)
        with pytest.raises(ValueError, match=r"made/up-v0: metadata\.json: "):
            load_minari(folder)
        assert not proof.exists()

    @pytest.mark.parametrize("spec", ["{}", "[]", "3", '{"id": 3}', "{", 7, {"id": "Theirs-v0"}])
    def test_a_spec_that_is_none(self, folder, spec):
        change(folder, env_spec=spec)
        with pytest.raises(ValueError, match="made/up-v0: "):
            load_minari(folder)


REMOVED = object()


def change(folder, **changes):
    file = folder / "data/metadata.json"
    metadata = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in metadata.items() if value is not REMOVED}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(total_episodes=10**13), "total_episodes is 10000000000000, main_data.hdf5 has"),
        (dict(total_episodes=-1), "total_episodes is -1"),
        (dict(total_episodes=1.5), "total_episodes is '1.5', expected a int"),
        (dict(total_episodes=True), "total_episodes is 'True', expected a int"),
        (dict(data_format="arrow"), "data_format is 'arrow', expected 'hdf5'"),
        (
            dict(action_space='{"type": "Discrete", "n": 10000000000, "start": 0}'),
            "codes of 10,000,000,000 values, expected at",
        ),
        (dict(action_space='{"type": "MultiBinary", "n": [100000, 100000]}'), "codes of 10,000,000,000 values"),
        (
            dict(action_space='{"type": "MultiDiscrete", "nvec": [3, 99999], "start": [0, 0], "dtype": "int64"}'),
            "100,002 values",
        ),
        (dict(action_space='{"type": "Discrete", "n": -3, "start": 0}'), "whole numbers"),
        (
            dict(action_space='{"type": "Box", "low": 0, "high": 1, "shape": [1000000, 1000000], "dtype": "float32"}'),
            r"has the shape \[1000000, 1000000\], its bounds have \[\] and \[\]",
        ),
        (
            dict(action_space='{"type": "Box", "low": [0], "high": [1], "shape": [1], "dtype": "(1000000000,)f8"}'),
            r"has the dtype \(1000000000,\)f8, expected one of bool, int8",
        ),
    ],
)
def test_claims_of_the_description(datasets_path, changes, message):
    make_dataset([episode()])
    change(datasets_path / "made/up-v0", **changes)
    with pytest.raises(ValueError, match=rf"made/up-v0: metadata\.json: .*{message}"):
        load_minari("made/up-v0")


@pytest.mark.parametrize("name", ["observations", "rewards", "infos"])
def test_links_and_other_files(datasets_path, name):
    make_dataset([episode()])
    path = datasets_path / "made/up-v0/data/main_data.hdf5"
    intact = path.read_bytes()
    with h5py.File(datasets_path / "other.hdf5", "w") as file:
        file["values"] = np.zeros(3)
    (datasets_path / "numbers").write_bytes(bytes(24))
    layout = h5py.VirtualLayout((3,), np.float64)
    layout[:] = h5py.VirtualSource(str(datasets_path / "other.hdf5"), "values", shape=(3,))
    for make, message in [
        (lambda group: group.__setitem__(name, h5py.SoftLink("/episode_0/terminations")), "is a link"),
        (lambda group: group.__setitem__(name, h5py.ExternalLink(str(datasets_path / "other.hdf5"), "values")), "is a link"),
        (lambda group: group.__setitem__(name, group["terminations"]), "is a link"),
        (lambda group: group.create_virtual_dataset(name, layout), "stand in another file"),
        (
            lambda group: group.create_dataset(name, 3, float, external=[(str(datasets_path / "numbers"), 0, 24)]),
            "stand in an",
        ),
        (lambda group: group.create_dataset(name, 10**12, float, chunks=True), "claims the shape"),
        (lambda group: group.create_dataset(name, 10**7, bool, chunks=(5,)), r"claims the shape \(10000000,\)"),
    ]:
        path.write_bytes(intact)
        with h5py.File(path, "a") as file:
            file["episode_0"].pop(name, None)
            make(file["episode_0"])
        if name == "infos" and message != "is a link":  # never read
            assert len(load_minari("made/up-v0")) == 1
            continue
        with pytest.raises(ValueError, match=f"made/up-v0: .*{message}"):
            load_minari("made/up-v0")


def test_jpegs(datasets_path):
    """As Minari keeps images unless told otherwise."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3), dtype=np.uint8)
    images = np.kron(pixels, np.ones((1, 8, 8, 1), dtype=np.uint8))
    dataset = make_dataset([episode(observations=images)], observation_space=spaces.Box(0, 255, (40, 48, 3), np.uint8))
    (trajectory,) = load_minari("made/up-v0")
    np.testing.assert_array_equal(trajectory.observations, next(dataset.iterate_episodes()).observations[:3])
    space = dict(type="Box", low=np.zeros((48, 40, 3)).tolist(), high=np.full((48, 40, 3), 255).tolist(), dtype="uint8")
    change(datasets_path / "made/up-v0", observation_space=json.dumps({**space, "shape": [48, 40, 3]}))
    with pytest.raises(ValueError, match=r"observations at step 0 is an image of 40 x 48, expected \(48, 40\)"):
        load_minari("made/up-v0")


def test_a_folder_without_data(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: No data found"):
        load_minari(tmp_path)


def test_not_installed_is_downloaded(monkeypatch):
    def download(dataset_id):
        make_dataset([episode()], dataset_id)

    monkeypatch.setattr("minari.storage.hosting.download_dataset", download)
    assert len(load_minari("made/up-v0")) == 1


@pytest.mark.parametrize(
    ("dataset_id", "message"),
    [
        ("mujoco/hopper/medium", "is neither a folder nor the id .*; installed are mujoco/hopper/medium-v0"),
        ("hopper-medium-v2.zip", "is neither a folder nor the id of a Minari data set, which ends with a version"),
        ("x", "is neither a folder"),
    ],
)
def test_what_is_no_id_fails_at_once(monkeypatch, dataset_id, message):
    make_dataset([episode()], "mujoco/hopper/medium-v0")
    monkeypatch.setattr("minari.storage.hosting.download_dataset", lambda name: pytest.fail("a download was tried"))
    with pytest.raises(FileNotFoundError, match=f"{dataset_id}' {message}"):
        load_minari(dataset_id)


def test_no_network(monkeypatch):
    def download(dataset_id):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", download)
    make_dataset([episode()], "made/up-v1")
    message = "'made/up-v0' is not installed and could not be downloaded: no route to host; installed are made/up-v1"
    with pytest.raises(FileNotFoundError, match=message):
        load_minari("made/up-v0")


@pytest.mark.parametrize("module", ["minari", "h5py", "PIL"])
def test_something_is_missing(monkeypatch, module):
    make_dataset([episode()])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"\.\[data\]"):
        load_minari("made/up-v0")
