"""Kill learning with SIGKILL at random moments, resume it from its last checkpoint, compare with a run never killed."""

import hashlib
import multiprocessing
import pickle
import random
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium as gym
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_gac import GAC, ExactCheckpointCallback, latest_checkpoint, load_checkpoint
from sb3_gac.data import Trajectory, rollout_trajectories

READY = "learning starts"
# A checkpoint every few steps, so that many kills hit one being written
SAVE_FREQ, PATIENCE, EPISODE_STEPS = 20, 10, 50


def make_envs(n_envs: int = 2) -> VecEnv:
    return make_vec_env(lambda: gym.make("Pendulum-v1", max_episode_steps=EPISODE_STEPS), n_envs)


def make_model(env: VecEnv | None) -> GAC:
    """A small model, for the steps of learning to take no time."""
    return GAC(
        "MlpLatentPolicy",
        env,
        batch_size=4,
        learning_starts=20,
        learning_rate=lambda progress: 1e-3 * progress,
        policy_kwargs={"net_arch": [16], "n_candidates": 8},
        seed=0,
        device="cpu",
    )


def make_data() -> list[Trajectory]:
    env = make_envs(1)
    return rollout_trajectories(make_model(env), env, n_episodes=5, deterministic=False)


def digest(model: GAC) -> str:
    """Digest of parameters, optimisers and replay buffer."""
    hasher = hashlib.sha256()
    parameters = model.get_parameters()
    for name, tensor in sorted((parameters["policy"] | parameters["credit"]).items()):
        hasher.update(name.encode() + tensor.numpy().tobytes())
    for optimizer in ("policy.optimizer", "credit.optimizer"):
        for index, moments in sorted(parameters[optimizer]["state"].items()):
            hasher.update(str(index).encode())
            for name, value in sorted(moments.items()):
                hasher.update(name.encode() + value.numpy().tobytes())
    assert model.replay_buffer is not None
    hasher.update(pickle.dumps([model.replay_buffer.returns, model.replay_buffer.actions, model._log_kl_coef]))
    return hasher.hexdigest()


def learn(folder: Path, offline_steps: int, online_steps: int, on_ready: Callable[[], None]) -> str:
    """Learn offline, then online, from the last checkpoint if there is one; return the digest of the model."""
    env = make_envs()
    offline, online = (
        ExactCheckpointCallback(SAVE_FREQ, folder / phase, patience=PATIENCE) for phase in ("offline", "online")
    )
    if latest_checkpoint(online.save_path) is not None:
        model = load_checkpoint(online.save_path, env, device="cpu")
        on_ready()
        model.learn(online_steps - model.num_timesteps, online, reset_num_timesteps=False)
        return digest(model)
    if latest_checkpoint(offline.save_path) is not None:
        model = load_checkpoint(offline.save_path, env, device="cpu")
        on_ready()
        model.learn_offline(None, offline_steps - model.num_timesteps, offline, reset_num_timesteps=False)
    else:
        data = make_data()
        model = make_model(env)
        on_ready()
        model.learn_offline(data, offline_steps, offline)
    return digest(model.learn(online_steps, online))


def work(sender: Connection, folder: Path, offline_steps: int, online_steps: int) -> None:
    """What a process does: tell when learning starts, then the digest."""
    th.set_num_threads(1)
    sender.send(learn(folder, offline_steps, online_steps, lambda: sender.send(READY)))


def run(folder: Path, offline_steps: int, online_steps: int, lifetime: float | None = None) -> tuple[str, float]:
    """Learn in a new process; its digest, empty if it was killed after its lifetime, and the seconds that it learnt for."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender, folder, offline_steps, online_steps))
    process.start()
    sender.close()
    try:
        assert receiver.recv() == READY
        start = time.monotonic()
        if lifetime is not None and not receiver.poll(lifetime):
            process.kill()
            return "", time.monotonic() - start
        return receiver.recv(), time.monotonic() - start
    except EOFError:
        raise RuntimeError(f"the process that learns in {folder} has failed") from None
    finally:
        process.join()


def kill_and_resume(n_kills: int, offline_steps: int, online_steps: int, seed: int = 0) -> tuple[int, dict[str, int]]:
    """How many killed runs ended as the one that was not, and where the kills have hit."""
    moments = random.Random(seed)
    n_identical = 0
    hits = {"before the first checkpoint": 0, "offline": 0, "online": 0, "while writing": 0}
    with tempfile.TemporaryDirectory() as name:
        reference, seconds = run(Path(name, "reference"), offline_steps, online_steps)
        kill = 0
        while kill < n_kills:
            folder = Path(name, str(time.monotonic_ns()))
            if run(folder, offline_steps, online_steps, moments.uniform(0, seconds))[0]:
                continue  # it was faster than the reference and had ended
            kill += 1
            offline, online = (latest_checkpoint(folder / phase) for phase in ("offline", "online"))
            hits["online" if online else "offline" if offline else "before the first checkpoint"] += 1
            hits["while writing"] += any(folder.rglob("*.partial"))
            n_identical += run(folder, offline_steps, online_steps)[0] == reference
    return n_identical, hits
