"""
Kill learning with SIGKILL at random moments, resume it from its last checkpoint, and compare with a run never killed.

    python -m benchmarks.resume --kills 20

The run learns from a data set, then in Pendulum-v1 with two environments. It writes a checkpoint every few steps, so that many
kills hit one being written. Parameters, optimiser and replay buffer have to agree bit for bit.
"""

import hashlib
import multiprocessing
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium as gym
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.evaluation import make_progress_bar
from benchmarks.options import make_command_parser
from sb3_gac import GAC, ExactCheckpointCallback, latest_checkpoint, load_checkpoint
from sb3_gac.data import Trajectory, rollout_trajectories

READY = "learning starts"
SAVE_FREQ, PATIENCE, EPISODE_STEPS = 20, 10, 50


def make_envs(n_envs: int = 2) -> VecEnv:
    """Pendulums whose episodes are short."""
    return make_vec_env(lambda: gym.make("Pendulum-v1", max_episode_steps=EPISODE_STEPS), n_envs)


def make_model(env: VecEnv | None) -> GAC:
    """
    A small model, for the steps of learning to take no time.

    :param env: what it learns in.
    """
    return GAC(
        "MlpLatentPolicy",
        env,
        batch_size=4,
        n_encode_steps=4,
        n_score_steps=4,
        learning_starts=20,
        learning_rate=lambda progress: 1e-3 * progress,
        policy_kwargs={"net_arch": [16], "n_candidates": 8},
        seed=0,
        device="cpu",
    )


def make_data() -> list[Trajectory]:
    """A few episodes of a policy that knows nothing."""
    env = make_envs(1)
    return rollout_trajectories(make_model(env), env, n_episodes=5, deterministic=False)


def digest(model: GAC) -> str:
    """
    Digest of parameters, optimisers and replay buffer.

    :param model: a model.
    """
    hasher = hashlib.sha256()
    parameters = model.get_parameters()
    for name, tensor in sorted(parameters["policy"].items()):
        hasher.update(name.encode() + tensor.numpy().tobytes())
    for optimizer in ("policy.optimizer", "policy.credit_optimizer"):
        for index, moments in sorted(parameters[optimizer]["state"].items()):
            hasher.update(str(index).encode())
            for name, value in sorted(moments.items()):
                hasher.update(name.encode() + value.numpy().tobytes())
    assert model.replay_buffer is not None
    hasher.update(pickle.dumps([model.replay_buffer.returns, model.replay_buffer.actions, model._log_kl_coef]))
    return hasher.hexdigest()


def learn(folder: Path, offline_steps: int, online_steps: int, on_ready: Callable[[], None] = lambda: None) -> str:
    """
    Learn offline, then online, from the last checkpoint if there is one; return the digest of the model.

    :param folder: where the checkpoints of both phases are.
    :param offline_steps: gradient steps offline.
    :param online_steps: timesteps online.
    :param on_ready: called when learning is about to start.
    """
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


def run(
    folder: Path, offline_steps: int, online_steps: int, lifetime: float | None = None, start_method: str = "spawn"
) -> tuple[str, float]:
    """
    Learn in a process of its own; its digest, empty if it was killed, and the seconds that it learnt for.

    :param folder: where its checkpoints are.
    :param offline_steps: gradient steps offline.
    :param online_steps: timesteps online.
    :param lifetime: seconds of learning after which it is killed; ``None`` lets it live.
    :param start_method: of ``multiprocessing``: "spawn" for a new interpreter, "fork" for one that has imported all.
    :raises RuntimeError: when it fails.
    """
    context = multiprocessing.get_context(start_method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender, folder, offline_steps, online_steps))  # type: ignore[attr-defined]
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


def work(sender: Connection, folder: Path, offline_steps: int, online_steps: int) -> None:
    """
    What a process does.

    :param sender: is told when learning starts, then the digest.
    :param folder: where its checkpoints are.
    :param offline_steps: gradient steps offline.
    :param online_steps: timesteps online.
    """
    th.set_num_threads(1)
    sender.send(learn(folder, offline_steps, online_steps, lambda: sender.send(READY)))


def kill_and_resume(
    n_kills: int,
    offline_steps: int,
    online_steps: int,
    seed: int = 0,
    progress_bar: bool = False,
    start_method: str = "spawn",
) -> tuple[int, dict[str, int]]:
    """
    How many killed runs ended as the one that was not, and where the kills have hit.

    :param n_kills: number of kills, each in a run of its own.
    :param offline_steps: gradient steps offline.
    :param online_steps: timesteps online.
    :param seed: seed of the moments.
    :param progress_bar: whether to show one.
    :param start_method: see :func:`run`.
    """
    moments = random.Random(seed)
    n_identical = 0
    hits = {"before the first checkpoint": 0, "offline": 0, "online": 0, "while writing": 0}
    with tempfile.TemporaryDirectory() as name, make_progress_bar(n_kills, "killing", " kills", progress_bar) as bar:
        reference, seconds = run(Path(name, "reference"), offline_steps, online_steps, None, start_method)
        kill = 0
        while kill < n_kills:
            folder = Path(name, str(time.monotonic_ns()))
            if run(folder, offline_steps, online_steps, moments.uniform(0, seconds), start_method)[0]:
                continue  # it was faster than the reference and had ended
            kill += 1
            offline, online = (latest_checkpoint(folder / phase) for phase in ("offline", "online"))
            hits["online" if online else "offline" if offline else "before the first checkpoint"] += 1
            hits["while writing"] += any(folder.rglob("*.partial"))
            n_identical += run(folder, offline_steps, online_steps, None, start_method)[0] == reference
            bar.update()
    return n_identical, hits


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_command_parser("resume", __doc__)
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: %(default)s)")
    parser.add_argument("--offline-steps", type=int, default=200, help="gradient steps (default: %(default)s)")
    parser.add_argument("--online-steps", type=int, default=400, help="timesteps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: %(default)s)")
    parser.add_argument(
        "--start-method",
        choices=("spawn", "fork"),
        default="spawn",
        help="new interpreters, or copies of this one, which start faster (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    th.set_num_threads(1)
    n_identical, hits = kill_and_resume(
        given.kills, given.offline_steps, given.online_steps, given.seed, given.progress_bar, given.start_method
    )
    print(f"{n_identical} of {given.kills} killed runs ended with identical parameters, optimiser and replay buffer")
    print("kills: " + ", ".join(f"{count} {where}" for where, count in hits.items()))
    if n_identical < given.kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
