"""
Offline to online with the RL Zoo, in one command of it, then evaluate what has been learnt and go on.

    python examples/train_with_zoo.py

The pendulum, for about a minute: far too short to learn much. Everything is left in runs/zoo-example.
"""

from pathlib import Path

import gymnasium as gym
import yaml

from sb3_gac import GAC
from sb3_gac.data import rollout_trajectories
from sb3_gac.zoo.__main__ import main as zoo

ENV = "Pendulum-v1"
FOLDER = Path("runs") / "zoo-example"


def make_data() -> str:
    """
    Play episodes with an untrained policy and keep them as a D4RL file.

    :return: path of the file; a Minari id would do as well.
    """
    import h5py
    import numpy as np

    env = gym.make(ENV)
    player = GAC("MlpLatentPolicy", env, seed=0)
    trajectories = rollout_trajectories(player, env, n_episodes=40, deterministic=False)
    path = FOLDER / "pendulum.hdf5"
    with h5py.File(path, "w") as file:
        for name in ("observations", "actions", "rewards"):
            file[name] = np.concatenate([getattr(trajectory, name) for trajectory in trajectories])
        for name, key in (("terminals", "terminated"), ("timeouts", "truncated")):
            ends = [np.arange(len(trajectory)) == len(trajectory) - 1 for trajectory in trajectories]
            file[name] = np.concatenate(
                [end & getattr(trajectory, key) for end, trajectory in zip(ends, trajectories, strict=True)]
            )
    return str(path)


def make_hyperparams(data: str) -> str:
    """
    Write hyper-parameters whose offline phase is a callback of the zoo.

    :param data: the data set.
    :return: path of the file.
    """
    params = {
        "policy": "MlpLatentPolicy",
        "policy_kwargs": {"net_arch": [64, 64]},
        "n_envs": 5,
        "n_timesteps": 4000,
        "train_freq": 200,
        "gradient_steps": 50,
        "callback": [{"sb3_gac.zoo.OfflinePhase": {"data": data, "gradient_steps": 300}}],
    }
    path = FOLDER / "gac.yml"
    path.write_text(yaml.safe_dump({ENV: params}))
    return str(path)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    conf_file = make_hyperparams(make_data())
    logs = str(FOLDER / "logs")
    # The same as `python -m sb3_gac.zoo train --env Pendulum-v1 ...` in a shell
    zoo(["train", "--env", ENV, "--conf-file", conf_file, "-f", logs, "--seed", "0", "--eval-freq", "2000", "--verbose", "0"])
    zoo(["enjoy", "--env", ENV, "-f", logs, "--no-render", "-n", "1000"])

    trained = str(max(Path(logs, "gac").glob(f"{ENV}_*/{ENV}.zip"), key=lambda path: path.stat().st_mtime))
    zoo(["train", "--env", ENV, "--conf-file", conf_file, "-f", logs, "-i", trained, "-n", "1000", "--verbose", "0"])
    zoo(["plots", "train", "--env", ENV, "-f", logs, "-w", "5", "-o", str(FOLDER / "curve.png")])
    print(f"all is in {FOLDER}")
