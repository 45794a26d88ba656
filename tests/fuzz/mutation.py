"""Good files of each kind that anyone may hand over, and what can be done to them."""

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import torch as th
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from minari.data_collector import EpisodeBuffer

from sb3_gac import GAC, load_safe, save_safe
from sb3_gac.data import TrajectoryReplayBuffer, load_dataset
from sb3_gac.data.stored_buffer import read_buffer
from tests.hub.contents import read, write

SECRET = 77.0  # what stands in a file that nobody has asked to read
SPACE = json.dumps({"type": "Box", "dtype": "float32", "shape": [2], "low": [-1.0, -1.0], "high": [1.0, 1.0]})
NASTY: list[Any] = [
    *(None, True, -1, 0, 1, 0.5, 10**7, 10**12, 10**18, 10**400, -(10**30), 1e308, float("nan"), float("inf")),
    *("", "theirs:X-v0", "theirs.X", "../../etc/passwd", "1", "inf", "float64", "O", "(1000000000,)f8", "x" * 5000, "{}"),
    *(SPACE, [], {}, [[]], [1], [10**9, 10**9], {"a": 1}, [0] * 3000, {"type": "Dict", "subspaces": {}}),
    *({"$class": name} for name in ("sb3_gac.gac.GAC", "torch.nn.ReLU", "torch.optim.SGD", "theirs.X", "os.system")),
    *({"$object": "LinearSchedule", "start": 1, "end": 0, "end_fraction": 1}, {"$object": "Popen", "args": ["touch", "ran"]}),
    *({"$array": name} for name in ("observation_space.low", "policy.log_std", "normalization", "")),
    {"$object": "Discrete", "n": 10**6, "start": 0, "dtype": {"$dtype": "int64"}},
    *({"$float": "nan"}, {"$float": "-inf"}, {"$tuple": [1, "step"]}, {"$tuple": []}, {"$dtype": "O"}, {"$dtype": "float32"}),
]  # fmt: skip


def make_files(folder: Path) -> None:
    """
    Make a good file of each kind.

    :param folder: Where.
    """
    rng = np.random.default_rng(0)
    flags = np.arange(20) % 5 == 4
    steps = {"observations": rng.uniform(-1, 1, (20, 3)), "actions": rng.uniform(-1, 1, (20, 2)), "rewards": np.ones(20)}
    with h5py.File(folder / "d4rl.hdf5", "w") as file:
        for name, array in {**steps, "terminals": flags, "timeouts": flags}.items():
            file.create_dataset(name, data=np.asarray(array, dtype=np.float32), chunks=True, compression="gzip")
    with h5py.File(folder / "secret.hdf5", "w") as file:
        file["secret"] = np.full((20, 3), SECRET)
    (folder / "secret.bin").write_bytes(np.full(60, SECRET, dtype=np.float32).tobytes())

    kwargs: dict[str, Any] = {"args": ["touch", str(folder / "ran")]}
    wrapper = WrapperSpec("Theirs", "subprocess:check_output", kwargs)
    spec = EnvSpec("Theirs-v0", entry_point="subprocess:check_output", kwargs=kwargs, additional_wrappers=(wrapper,))
    episodes = [
        EpisodeBuffer(
            observations=rng.uniform(-1, 1, (6, 3)).astype(np.float32),
            actions=rng.uniform(-1, 1, (5, 2)).astype(np.float32),
            rewards=np.ones(5),
            terminations=[False] * 4 + [True],
            truncations=[False] * 5,
        )
        for _ in range(3)
    ]
    box = gym.spaces.Box
    made = minari.create_dataset_from_buffers(
        "fuzz/made-v0", episodes, observation_space=box(-1, 1, (3,)), action_space=box(-1, 1, (2,))
    )
    shutil.copytree(made.storage.data_path, folder / "minari")
    metadata = folder / "minari/metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "env_spec": spec.to_json()}))

    env = gym.make("Pendulum-v1", max_episode_steps=10)
    options: dict[str, Any] = dict(learning_starts=20, batch_size=4, seed=0, device="cpu")
    model = GAC("MlpLatentPolicy", env, policy_kwargs={"net_arch": [8], "n_candidates": 8}, **options).learn(30)
    save_safe(model, folder / "safe")
    model.save_replay_buffer(folder / "buffer")


def mutate_json(data: Any, rng: np.random.Generator) -> str:
    """
    Change one place of JSON, which is changed itself.

    :param data: The JSON.
    :param rng: Draws the place and the change.
    :return: What was done.
    """
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, path: str) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key, f"{path}/{key}"))
            if isinstance(node[key], dict | list):
                walk(node[key], f"{path}/{key}")

    walk(data, "")
    node, key, path = places[rng.integers(len(places))]
    if rng.random() < 0.15:
        del node[key]
        return f"{path} removed"
    if isinstance(node[key], str) and node[key].startswith("{") and rng.random() < 0.7:  # JSON in JSON
        inner = json.loads(node[key])
        done = mutate_json(inner, rng)
        node[key] = json.dumps(inner)
        return f"{path}{done}"
    other = places[rng.integers(len(places))]
    value = copy.deepcopy(other[0].get(other[1]) if isinstance(other[0], dict) else None) if rng.random() < 0.15 else None
    value = NASTY[rng.integers(len(NASTY))] if value is None else value
    node[key] = value
    return f"{path} = {str(value)[:80]}"


def mutate_hdf5(file: Path, rng: np.random.Generator) -> str:
    """
    Change one field of an HDF5 file, or a few of its bytes.

    :param file: The file.
    :param rng: Draws the field and the change.
    :return: What was done.
    """
    if rng.random() < 0.3:
        return _flip_bytes(file, rng)
    secret, raw = file.parent / "secret.hdf5", file.parent / "secret.bin"
    with h5py.File(file, "a") as opened:
        names: list[str] = []
        opened.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = names[rng.integers(len(names))]
        shape, dtype = opened[name].shape, opened[name].dtype
        del opened[name]
        source = h5py.VirtualSource(str(secret), "secret", (20, 3))
        layout = h5py.VirtualLayout(shape, np.float64)
        layout[:] = source[: shape[0], : shape[1]] if len(shape) == 2 else source[: shape[0], 0]
        makers: dict[str, Callable[[], Any]] = {
            "removed": lambda: None,
            "soft link": lambda: opened.__setitem__(name, h5py.SoftLink("/" + names[0])),
            "dangling link": lambda: opened.__setitem__(name, h5py.SoftLink("/nowhere")),
            "external link": lambda: opened.__setitem__(name, h5py.ExternalLink(str(secret), "secret")),
            "hard link": lambda: opened.__setitem__(name, opened["/"]),
            "virtual": lambda: opened.create_virtual_dataset(name, layout),
            "external": lambda: opened.create_dataset(name, shape, np.float32, external=[(str(raw), 0, 240)]),
            "group": lambda: opened.create_group(name),
            "empty": lambda: opened.create_dataset(name, data=h5py.Empty("f4")),
            "scalar": lambda: opened.create_dataset(name, data=1.0),
            "text": lambda: opened.create_dataset(name, data=[b"a"] * shape[0]),
            "strings": lambda: opened.create_dataset(name, data=["a"] * shape[0], dtype=h5py.string_dtype()),
            "lists": lambda: opened.create_dataset(name, shape, dtype=h5py.vlen_dtype(np.uint8)),
            "records": lambda: opened.create_dataset(name, shape, dtype=[("a", "f4")]),
            "references": lambda: opened.create_dataset(name, shape, dtype=h5py.ref_dtype),
            "complex": lambda: opened.create_dataset(name, shape, dtype=np.complex64),
            "not a number": lambda: opened.create_dataset(name, data=np.full(shape, np.nan)),
            "integers": lambda: opened.create_dataset(name, data=np.ones(shape, dtype=np.int64)),
            "longer": lambda: opened.create_dataset(name, (shape[0] + 1, *shape[1:]), dtype),
            "wider": lambda: opened.create_dataset(name, (*shape, 2), dtype),
            "claims": lambda: opened.create_dataset(name, (10 ** rng.integers(8, 15), *shape[1:]), dtype, chunks=True),
            "no steps": lambda: opened.create_dataset(name, (0, *shape[1:]), dtype),
        }  # fmt: skip
        kind = list(makers)[rng.integers(len(makers))]
        makers[kind]()
    return f"{name} {kind}"


def mutate_model(file: Path, rng: np.random.Generator) -> str:
    """
    Change a few bytes of a saved model, or its JSON and the digest with it.

    :param file: The file.
    :param rng: Draws the place and the change.
    :return: What was done.
    """
    if rng.random() < 0.1:
        return _flip_bytes(file, rng)
    text, tensors = read(file)
    data = json.loads(text)
    done = " and ".join(mutate_json(data, rng) for _ in range(rng.integers(1, 3)))
    write(file, json.dumps(data), tensors)
    return done


def mutate_tensors(file: Path, rng: np.random.Generator) -> str:
    """
    Change one tensor of a saved model, and the digest noted of them.

    :param file: The file.
    :param rng: Draws the tensor and the change.
    :return: What was done.
    """
    text, tensors = read(file)
    name = list(tensors)[rng.integers(len(tensors))]
    tensor = tensors.pop(name)
    makers: dict[str, Callable[[], Any]] = {
        "removed": dict,
        "renamed": lambda: {name + "x": tensor},
        "doubled": lambda: {name: tensor, name + ".x": tensor.clone()},
        "scalar": lambda: {name: th.zeros(())},
        "single": lambda: {name: th.zeros(1)},
        "shorter": lambda: {name: tensor.flatten()[:-1].clone()},
        "wide": lambda: {name: th.zeros(10**9, 0)},
        "flat": lambda: {name: tensor.flatten().clone()[:, None]},
        "double": lambda: {name: tensor.double()},
        "whole": lambda: {name: tensor.long()},
        "half": lambda: {name: tensor.half()},
        "not a number": lambda: {name: tensor * float("nan")},
        "infinite": lambda: {name: tensor * 0 + float("inf")},
        "negative": lambda: {name: -tensor - 1},
    }
    kind = list(makers)[rng.integers(len(makers))]
    write(file, text, {**tensors, **makers[kind]()})
    return f"{name} {kind}"


def mutate_buffer(file: Path, rng: np.random.Generator) -> str:
    """
    Change a few bytes of a replay buffer, or its header or arrays and the checksum with them.

    :param file: The file.
    :param rng: Draws the place and the change.
    :return: What was done.
    """
    if rng.random() < 0.2:
        return _flip_bytes(file, rng)
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header, values = json.loads(content[8:end]), bytearray(content[end:])
    del header["__metadata__"]["sha256"]
    if rng.random() < 0.5:
        done = mutate_json(header, rng)
    else:
        name = list(header)[rng.integers(1, len(header))]
        start, stop = header[name]["data_offsets"]
        floats = np.asarray([np.nan, np.inf, 1e30, -1e30, -1, 2, 0.5], np.float32)
        nasty = [*floats.view(np.int32).tolist(), -1, 2**31 - 1, 7]
        place = int(rng.integers(start, max(stop, start + 1)))
        done = f"{name} at {place} = {(value := nasty[rng.integers(len(nasty))])}"
        values[place : place + 4] = value.to_bytes(4, "little", signed=True)[: len(values) - place]
        if rng.random() < 0.2:
            values = values[: rng.integers(len(values))] if rng.random() < 0.5 else values + bytes(8)
            done += f", {len(values)} bytes"
    if isinstance(header.get("__metadata__"), dict):
        content = json.dumps(header, sort_keys=True).encode() + values
        header["__metadata__"]["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + values)
    return done


def _flip_bytes(file: Path, rng: np.random.Generator) -> str:
    content = bytearray(file.read_bytes())
    places = rng.integers(len(content), size=rng.integers(1, 5))
    for place in places:
        content[place] = rng.integers(256)
    file.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.1 else content)
    return f"bytes {places.tolist()}"


def mutate(kind: str, folder: Path, rng: np.random.Generator) -> tuple[str, Path, Callable[[], Any]]:
    """
    Change the file of a kind.

    :param kind: One of ``KINDS``.
    :param folder: A copy of what :func:`make_files` has made.
    :param rng: Draws the change.
    :return: What was done, the file, and what reads it.
    """
    if kind == "d4rl":
        return (
            mutate_hdf5(folder / "d4rl.hdf5", rng),
            folder / "d4rl.hdf5",
            lambda: load_dataset(folder / "d4rl.hdf5").trajectories,
        )
    if kind == "minari data":
        for name in ("secret.hdf5", "secret.bin"):
            shutil.copy(folder / name, folder / "minari" / name)
        done = mutate_hdf5(folder / "minari/main_data.hdf5", rng)
        return done, folder / "minari", lambda: load_dataset(folder / "minari").trajectories
    if kind == "minari metadata":
        return (
            _mutate_text(folder / "minari/metadata.json", rng),
            folder / "minari",
            lambda: load_dataset(folder / "minari").trajectories,
        )
    if kind.startswith("safe"):
        file = folder / "safe.safetensors"
        done = mutate_model(file, rng) if kind == "safe description" else mutate_tensors(file, rng)
        return done, file, lambda: load_safe(file, device="cpu")
    file, env = folder / "buffer.safetensors", gym.make("Pendulum-v1")
    template = TrajectoryReplayBuffer(100, env.observation_space, env.action_space, device="cpu")
    return mutate_buffer(file, rng), file, lambda: read_buffer(file, template)


KINDS = ("minari metadata", "minari data", "d4rl", "safe description", "safe tensors", "replay buffer")


def _mutate_text(file: Path, rng: np.random.Generator) -> str:
    if rng.random() < 0.1:
        return _flip_bytes(file, rng)
    data = json.loads(file.read_text())
    done = " and ".join(mutate_json(data, rng) for _ in range(rng.integers(1, 3)))
    file.write_text(json.dumps(data))
    return done
