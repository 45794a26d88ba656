"""Data of the locomotion tasks: what SAC saw while it learnt, and what it did then."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean, set_random_seed

from benchmarks.envs import Task
from benchmarks.episode import Episode
from sb3_gac.atomic import replace_when_complete

# Policies that trainings ended with. On another kind of processor the same training ends with another policy, whose
# trajectories are another data set: a policy that is kept here makes the same one everywhere, and in a minute.
POLICIES = Path(__file__).with_name("policies")


def as_json(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON holds it, beside what it makes."""
    fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return fields


@dataclass(frozen=True)
class SacTraining:
    """
    SAC from scratch, one update per step, until it is of medium skill. Can be interrupted.

    Checkpoints are made between two trajectories only, so that going on from one cuts none. The random numbers are
    seeded anew there: a resumed training is as good as an uninterrupted one, but not the same.

    :param return_threshold: It stops when the mean of the last returns passes this.
    :param n_returns: Of how many last trajectories.
    :param random_steps: Steps of random actions before the first update.
    :param net_arch: Hidden layers of actor and critics.
    :param max_steps: A training that has not stopped by then has failed.
    :param checkpoint_steps: Steps between two checkpoints.
    """

    return_threshold: float
    n_returns: int = 10
    random_steps: int = 5_000
    net_arch: tuple[int, ...] = (256, 256)
    max_steps: int = 1_000_000
    checkpoint_steps: int = 25_000

    def run(self, task: Task, seed: int, work_dir: Path) -> SAC:
        """
        Train, or go on from the last checkpoint, or load what is done already.

        :param work_dir: Where the checkpoints are, in a folder per environment and seed.
        :return: The model with its replay buffer, which holds every trajectory, all of them whole.
        :raises RuntimeError: when ``max_steps`` did not do.
        :raises ValueError: when the checkpoints come from other settings.
        """
        checkpoints = CheckpointFolder(work_dir / f"{task.env_id}-seed{seed}", self)
        env = task.make_env()
        model = checkpoints.load(env)
        if model is not None:
            # Not the starts and the noise that it has seen already
            model.set_random_seed(seed + _replay_buffer(model).size())
        else:
            model = SAC(
                "MlpPolicy",
                env,
                learning_starts=self.random_steps,
                buffer_size=self.max_steps + 1,  # it never runs full
                policy_kwargs={"net_arch": list(self.net_arch)},
                stats_window_size=self.n_returns,
                seed=seed,
            )
        if not self.is_reached(model):
            n_left = self.max_steps - _replay_buffer(model).size()
            model.learn(n_left, checkpoints, reset_num_timesteps=model.num_timesteps == 0)
        if not self.is_reached(model):
            raise RuntimeError(
                f"SAC on {task.env_id} with seed {seed} did not pass a mean return of {self.return_threshold:g} "
                f"within {self.max_steps:,} steps: the last {self.n_returns} trajectories had {mean_return(model):.1f}"
            )
        return model

    def is_reached(self, model: SAC) -> bool:
        """Whether the last returns pass the threshold."""
        return len(model.ep_info_buffer or ()) == self.n_returns and mean_return(model) > self.return_threshold


@dataclass(frozen=True)
class MediumReplayRecipe:
    """Every trajectory that SAC saw until it was of medium skill."""

    training: SacTraining
    description = "Everything SAC saw from its first random step until its mean return passed the threshold."

    def collect(self, task: Task, seed: int, work_dir: Path) -> Iterator[Episode]:
        """Train and hand over the replay buffer; see :meth:`SacTraining.run`."""
        yield from replay_episodes(self.training.run(task, seed, work_dir))


@dataclass(frozen=True)
class MediumRecipe:
    """
    Trajectories of the stochastic policy that the training ended with.

    :param training: The training; not run where its policy is kept, and only once for this and medium-replay.
    :param n_steps: Trajectories are added until there are that many steps; the last one is whole.
    """

    training: SacTraining
    n_steps: int = 200_000
    description = "The stochastic policy of SAC at the time when its mean return passed the threshold."

    def collect(self, task: Task, seed: int, work_dir: Path) -> Iterator[Episode]:
        """Train and roll out, with other starts than those of the training; see :meth:`SacTraining.run`."""
        model = load_policy(task, self.training, seed) or self.training.run(task, seed, work_dir)
        set_random_seed(seed + 1)
        env = task.make_env()
        next_seed: int | None = seed + 1
        n_steps = 0
        while n_steps < self.n_steps:
            observation, _ = env.reset(seed=next_seed)
            next_seed = None
            observations, actions, rewards = [observation], [], []
            terminated = truncated = False
            while not (terminated or truncated):
                action, _ = model.predict(observation, deterministic=False)
                observation, reward, terminated, truncated, _ = env.step(action)
                observations.append(observation)
                actions.append(action)
                rewards.append(float(reward))
            n_steps += len(rewards)
            yield Episode(np.stack(observations), np.stack(actions), np.array(rewards), terminated)
        env.close()


def keep_policy(model: SAC, task: Task, training: SacTraining, seed: int) -> None:
    """Keep the policy that a training ended with for :func:`load_policy`, without its critics."""
    POLICIES.mkdir(exist_ok=True)
    with replace_when_complete(POLICIES / f"{task.env_id}-seed{seed}.pt") as partial:
        th.save({"training": as_json(training), "actor": model.actor.state_dict()}, partial)


def load_policy(task: Task, training: SacTraining, seed: int) -> SAC | None:
    """A model that acts as the training ended, or None when no policy of that training is kept."""
    path = POLICIES / f"{task.env_id}-seed{seed}.pt"
    kept: dict[str, Any] = th.load(path, weights_only=True) if path.exists() else {"training": None}
    if kept["training"] != as_json(training):
        return None
    model = SAC("MlpPolicy", task.make_env(), buffer_size=1, policy_kwargs={"net_arch": list(training.net_arch)})
    model.actor.load_state_dict(kept["actor"])
    return model


def replay_episodes(model: SAC) -> Iterator[Episode]:
    """The whole trajectories in the replay buffer of a model that was trained in one environment, oldest first."""
    buffer = _replay_buffer(model)
    if buffer.full:
        raise ValueError("the replay buffer overflowed: its oldest trajectories are lost")
    start = 0
    for last in np.flatnonzero(buffer.dones[: buffer.pos, 0]).tolist():
        steps = slice(start, last + 1)
        yield Episode(
            observations=np.concatenate([buffer.observations[steps, 0], buffer.next_observations[last : last + 1, 0]]),
            actions=model.policy.unscale_action(buffer.actions[steps, 0]).astype(np.float32),
            rewards=buffer.rewards[steps, 0],
            terminated=not buffer.timeouts[last, 0],
        )
        start = last + 1


def mean_return(model: SAC) -> float:
    """Mean of the last returns, over as many as the model keeps; NaN before the first."""
    return float(safe_mean([info["r"] for info in model.ep_info_buffer or ()]))


class CheckpointFolder(BaseCallback):
    """
    The newest model of a training with its replay buffer; an interruption leaves the one before.

    As a callback it saves between two trajectories, and stops the training at its threshold. SB3 calls it before it stores
    the step. So it is the first step of the next trajectory, not stored yet, that finds the last one complete.

    :param folder: Made when the first checkpoint is saved.
    :param training: Settings that all checkpoints in this folder share.
    """

    model: SAC

    def __init__(self, folder: Path, training: SacTraining) -> None:
        super().__init__()
        self.folder, self.training, self.settings = folder, training, as_json(training)

    def load(self, env: object) -> SAC | None:
        """The newest checkpoint, to go on with in an environment, or None; one of other settings is refused."""
        for path in sorted(self.folder.glob("step_*"))[-1:]:
            settings = json.loads((path / "settings.json").read_text())
            if settings != self.settings:
                raise ValueError(f"{self.folder} holds a training with other settings, {settings}: delete it to train anew")
            model = SAC.load(path / "model.zip", env=env)  # type: ignore[arg-type]
            model.load_replay_buffer(path / "replay_buffer.pkl")
            return model
        return None

    def save(self, model: SAC) -> None:
        """Add a checkpoint and remove the older ones; the replay buffer ends with the end of a trajectory."""
        older = list(self.folder.glob("step_*"))
        with replace_when_complete(self.folder / f"step_{_replay_buffer(model).size():09d}") as partial:
            partial.mkdir(parents=True)
            model.save(partial / "model.zip")
            model.save_replay_buffer(partial / "replay_buffer.pkl")
            (partial / "settings.json").write_text(json.dumps(self.settings))
        for old in older:
            shutil.rmtree(old)

    def _on_training_start(self) -> None:
        self.n_saved = _replay_buffer(self.model).size()

    def _on_step(self) -> bool:
        buffer = _replay_buffer(self.model)
        n_steps = buffer.size()
        if n_steps == self.n_saved or not buffer.dones[n_steps - 1, 0]:
            return True
        is_reached = self.training.is_reached(self.model)
        if is_reached or n_steps - self.n_saved >= self.training.checkpoint_steps:
            self.save(self.model)
            self.n_saved = n_steps
            print(f"SAC: {n_steps:,} steps, return {mean_return(self.model):.0f}", flush=True)
        return not is_reached


def _replay_buffer(model: SAC) -> ReplayBuffer:
    assert isinstance(model.replay_buffer, ReplayBuffer)
    return model.replay_buffer
