"""
Checkpoints from which a killed run goes on as if it had never stopped: on a CPU the parameters agree bit for bit.

An environment cannot be saved in general, so a checkpoint ends its episodes: it draws a seed and resets the environments
with it, in the run that goes on and in the one that resumes. The two are equal by construction, for every environment
that is determined by ``reset(seed=...)``.

.. code-block:: python

    callback = ExactCheckpointCallback(save_freq=10_000, save_path="runs/1")
    if latest_checkpoint("runs/1") is None:
        GAC("MlpLatentPolicy", env, seed=0).learn(1_000_000, callback=callback)
    else:
        model = load_checkpoint("runs/1", env)
        model.learn(1_000_000 - model.num_timesteps, callback=callback, reset_num_timesteps=False)
"""

import hashlib
import json
import pickle
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_gac.arguments import check_at_least
from sb3_gac.atomic import discard, lock_folder, replace_when_complete
from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.stored_buffer import read_buffer, write_buffer
from sb3_gac.gac import GAC
from sb3_gac.offline_env import OfflineVecEnv

MODEL, STATE = "model.zip", "state.pkl"
REPLAY_BUFFER, OFFLINE_BUFFER = "replay_buffer.safetensors", "offline_buffer.safetensors"
# Written last: sha256 of all other files
MANIFEST = "manifest.json"
NAME = re.compile(r"checkpoint_\d+")


def save_checkpoint(model: GAC, save_path: str | Path, keep: int = 2) -> Path:
    """
    Save all that learning depends on, and restart the environments from a seed that is saved too.

    The episodes under way are abandoned: the replay buffer never counts them as trajectories. A crash while this runs
    leaves the checkpoints that are there as they are.

    :param model: The model, between two gradient steps and two rollouts.
    :param save_path: Folder of the checkpoints ``checkpoint_1``, ``checkpoint_2``, ... of one run; it is made.
    :param keep: How many of them to keep, the newest; at least 1.
    :return: The folder of the new checkpoint.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    folder = Path(save_path)
    folder.mkdir(parents=True, exist_ok=True)
    model._forget_rollout()
    seed = int(np.random.randint(2**31 - 1))
    with lock_folder(folder):
        latest = latest_checkpoint(folder)
        checkpoint = folder / f"checkpoint_{1 if latest is None else _number(latest) + 1}"
        with replace_when_complete(checkpoint) as partial:
            _write(model, seed, partial)
        for old in _checkpoints(folder)[:-keep]:
            discard(old)
    _restart(model, seed)
    return checkpoint


def load_checkpoint(path: str | Path, env: GymEnv | None = None, model_class: type[GAC] = GAC, **kwargs: Any) -> GAC:
    """
    The model of a checkpoint, in the state in which ``save_checkpoint`` left it; learning should go on at once.

    ``learn(total - model.num_timesteps, reset_num_timesteps=False)`` goes on online, and
    ``learn_offline(None, total - model.num_timesteps, reset_num_timesteps=False)`` with the data set, which is loaded too.
    Model and state are pickles: load only what you trust.

    :param path: A checkpoint, or the folder of a run, whose newest checkpoint is loaded.
    :param env: Environments made as those of the run; a ``VecNormalize`` takes up the statistics saved.
    :param model_class: Class of the model.
    :param kwargs: Keyword arguments of its ``load``.
    :raises FileNotFoundError: when there is no checkpoint.
    :raises ValueError: when a file of the checkpoint is missing or damaged, or the environments are not those of the run.
    """
    checkpoint = Path(path) if NAME.fullmatch(Path(path).name) else latest_checkpoint(path)
    if checkpoint is None or not checkpoint.is_dir():
        raise FileNotFoundError(f"there is no checkpoint {path}, nor one in it")
    files = _verify(checkpoint)
    model = model_class.load(checkpoint / MODEL, env, **kwargs)
    with (checkpoint / STATE).open("rb") as stream:
        state = pickle.load(stream)
    if env is not None and model.n_envs != state["n_envs"]:
        raise ValueError(f"{checkpoint} was saved with {state['n_envs']} environments, it cannot go on with {model.n_envs}")
    if env is not None:  # first: what has seen nothing yet would take its statistics from the replay buffer
        _restore_normalization(model, state["normalization"], checkpoint)
    if REPLAY_BUFFER in files:
        model.load_replay_buffer(checkpoint / REPLAY_BUFFER)
    if OFFLINE_BUFFER in files:
        spaces = model.observation_space, model.action_space
        empty = TrajectoryReplayBuffer(state["offline_steps"], *spaces, device=model.device)
        model.offline_buffer = read_buffer(checkpoint / OFFLINE_BUFFER, empty)
    model._last_obs = None
    _set_rng_state(state["rng"])
    _restart(model, state["seed"])
    return model


def latest_checkpoint(save_path: str | Path) -> Path | None:
    """
    The newest checkpoint of a run, or ``None``.

    :param save_path: Folder of its checkpoints.
    """
    checkpoints = _checkpoints(Path(save_path))
    return checkpoints[-1] if checkpoints else None


class ExactCheckpointCallback(BaseCallback):
    """
    Save a checkpoint every so often, and at the end, in ``learn`` and in ``learn_offline``.

    A checkpoint abandons the episodes under way; so that few are lost, it waits for a moment when there are none. The
    resumed run must have the same callback. Other callbacks keep their own state, which is not saved. A run that learns
    offline, then online, needs a folder for each: both count their timesteps from zero.

    :param save_freq: Timesteps (of all environments together), or gradient steps offline, between two checkpoints.
    :param save_path: Folder of the checkpoints of this run alone.
    :param keep: How many checkpoints to keep, the newest.
    :param patience: Steps of each environment that a checkpoint waits for the episodes to end, at most.
    :param verbose: 1 tells of each checkpoint.
    """

    model: GAC

    def __init__(self, save_freq: int, save_path: str | Path, keep: int = 2, patience: int = 1000, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.save_freq = save_freq
        self.save_path = Path(save_path)
        self.keep = keep
        self.patience = patience
        check_at_least(self, save_freq=1, keep=1, patience=0)
        self._saved_at = 0
        self._is_online = False

    def _on_training_start(self) -> None:
        self._saved_at = self.model.num_timesteps
        self._is_online = False

    def _on_rollout_start(self) -> None:
        # Between rollouts all that has happened is stored; at a step of one it is not yet
        self._is_online = True
        assert self.model._last_episode_starts is not None
        overdue = self.model.num_timesteps - self._saved_at - self.save_freq
        if overdue >= 0 and (self.model._last_episode_starts.all() or overdue >= self.patience * self.model.n_envs):
            self._save()

    def _on_step(self) -> bool:
        if not self._is_online and self.model.num_timesteps - self._saved_at >= self.save_freq:
            self._save()
        return True

    def _on_training_end(self) -> None:
        if self.model.num_timesteps > self._saved_at:
            self._save()

    def _save(self) -> None:
        checkpoint = save_checkpoint(self.model, self.save_path, self.keep)
        self._saved_at = self.model.num_timesteps
        if self.verbose > 0:
            print(f"Saved {checkpoint} after {self.num_timesteps} timesteps")


def _checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a folder, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if NAME.fullmatch(path.name) and path.is_dir()), key=_number)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint_"))


def _write(model: GAC, seed: int, folder: Path) -> None:
    """Write all files of a checkpoint, the manifest last."""
    folder.mkdir()
    model.save(folder / MODEL)
    for name, buffer in ((REPLAY_BUFFER, model.replay_buffer), (OFFLINE_BUFFER, model.offline_buffer)):
        if buffer is not None:
            write_buffer(folder / name, buffer)
    normalizer = model._vec_normalize_env
    state = {
        "seed": seed,
        "n_envs": model.n_envs,
        "offline_steps": None if model.offline_buffer is None else model.offline_buffer.buffer_size,
        "normalization": None if normalizer is None else _statistics(normalizer),
        "rng": _rng_state(),
    }
    with (folder / STATE).open("wb") as stream:
        pickle.dump(state, stream, protocol=pickle.HIGHEST_PROTOCOL)
    digests = {file.name: _digest(file) for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(digests, indent=2), encoding="utf-8")


def _digest(file: Path) -> str:
    """SHA-256 of a file, read in pieces: replay buffers are large."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verify(checkpoint: Path) -> list[str]:
    """Names of the files of a checkpoint, all of which are there and whole."""
    manifest = checkpoint / MANIFEST
    try:
        digests: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"the checkpoint is incomplete: {manifest} is missing") from None
    except ValueError as error:
        raise ValueError(f"the checkpoint is damaged: {manifest} cannot be read") from error
    for name, digest in digests.items():
        file = checkpoint / name
        if not file.is_file():
            raise ValueError(f"the checkpoint is incomplete: {file} is missing")
        if _digest(file) != digest:
            raise ValueError(f"the checkpoint is damaged: {file} is not what was written")
    return list(digests)


def _restart(model: GAC, seed: int) -> None:
    """Begin new episodes that depend on nothing but the seed."""
    model.action_space.seed(seed)
    env = model.env
    if env is None or isinstance(env, OfflineVecEnv):
        return
    env.seed(seed)
    model._restart_rollout()


def _restore_normalization(model: GAC, saved: dict[str, Any] | None, checkpoint: Path) -> None:
    normalizer = model._vec_normalize_env
    if (normalizer is None) != (saved is None):
        raise ValueError(f"{checkpoint} was saved {'without' if saved is None else 'with'} a VecNormalize, env is not so")
    if normalizer is not None and saved is not None:
        if saved.keys() != _statistics(normalizer).keys():
            raise ValueError(f"{checkpoint} was saved with a VecNormalize of {', '.join(saved)}, env has another")
        vars(normalizer).update(saved)


def _statistics(normalizer: VecNormalize) -> dict[str, Any]:
    """Running statistics, by the names of the attributes; of observations only where they are normalised."""
    return {name: getattr(normalizer, name) for name in ("obs_rms", "ret_rms") if name in vars(normalizer)}


def _rng_state() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": th.get_rng_state().numpy(),
        "cuda": [state.numpy() for state in th.cuda.get_rng_state_all()] if th.cuda.is_available() else [],
    }


def _set_rng_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    th.set_rng_state(th.as_tensor(state["torch"]))
    if len(state["cuda"]) == th.cuda.device_count():
        th.cuda.set_rng_state_all([th.as_tensor(cuda) for cuda in state["cuda"]])
