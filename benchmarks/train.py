"""
Train and evaluate GAC: from a data set, from an environment, or from the one and then the other.

    python -m benchmarks.train --env maze2d-umaze --seed 1                 the task's own data set, then its environment
    python -m benchmarks.train --env hopper-medium-replay --mode offline --data some/file.hdf5
    python -m benchmarks.train --env Pendulum-v1 -params gradient_steps:50 policy_kwargs.plan_dim:8
    python -m benchmarks.train --env data --data mujoco/hopper/medium-v0   a Minari data set, in the environment that it names
    python -m benchmarks.train --env maze2d-umaze --algo bc10              10 % behaviour cloning with one such decoder

What each run needs to be repeated, what it learnt, and how well it does are left in its folder.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.bc import BehaviourCloning, best_trajectories
from benchmarks.envs import TASKS, MazeTask, Task, find_task
from benchmarks.evaluation import EVALUATION_SEED, Array, evaluate, make_eval_env
from benchmarks.hyperparam import HYPERPARAMS, load_hyperparams, model_arguments
from benchmarks.options import (
    ALGOS,
    MODES,
    Options,
    add_run_options,
    choose_phases,
    make_command_parser,
    parse_options,
)
from benchmarks.plots import CurvePoint, plot_plans
from benchmarks.run_folder import Result, RunFolder, format_results
from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, load_dataset
from sb3_gac.extra import require


def train(options: Options, callback: MaybeCallback = None) -> list[Result]:
    """
    Run one training: its phases, and an evaluation after each.

    :param options: what to train, how, and where to leave it.
    :param callback: SB3 callbacks to call as well.
    :return: one result per phase.
    :raises ValueError: when the options contradict each other or the data.
    """
    return Run(options).train(callback)


def make_model(options: Options, params: dict[str, Any], env: VecEnv) -> GAC:
    """
    The untrained model.

    :param options: options of the run.
    :param params: its hyper-parameters.
    :param env: the training environments.
    """
    algorithm = GAC if options.algo == "gac" else BehaviourCloning
    return algorithm(env=env, seed=options.seed, device=options.device, verbose=options.verbose, **model_arguments(params))


class CpuClock:
    """CPU seconds of this process since the clock was made, pauses left out."""

    def __init__(self) -> None:
        self._start = time.process_time()
        self._paused = 0.0

    @property
    def seconds(self) -> float:
        """CPU seconds so far."""
        return time.process_time() - self._start - self._paused

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What is done inside does not count."""
        start = time.process_time()
        try:
            yield
        finally:
            self._paused += time.process_time() - start


class Run:
    """
    One training, ready to start: options checked, data loaded, model made.

    :param options: what to train, how, and where to leave it.
    :raises ImportError: naming the extra, when something is missing that will be needed.
    :raises ValueError: when the options contradict each other or the data.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.task = find_task(options.env, options.data)
        self.params = load_hyperparams([options.data, self.task.name, self.task.env_id], options.params, options.hyperparams)
        self.phases = choose_phases(options, self.params, options.data is not None or self.task.name in TASKS)
        require("plots", "matplotlib")
        if options.progress_bar:
            require("zoo", "tqdm", "rich")
        train_env = make_vec_env(self.task.make_env, self.params["n_envs"], seed=options.seed)
        self.dataset: OfflineDataset | None = None
        if "offline" in self.phases:
            self.dataset = load_data(options.data, self.task, train_env)
        self.model = make_model(options, self.params, train_env)
        self.folder = RunFolder(options, self.task, self.phases, ALGOS[options.algo], self.dataset)
        if self.dataset is not None and options.algo == "bc10":
            self.dataset = replace(self.dataset, trajectories=best_trajectories(self.dataset.trajectories))

    def train(self, callback: MaybeCallback = None) -> list[Result]:
        """
        Train and evaluate, phase by phase.

        :param callback: SB3 callbacks to call as well.
        :return: one result per phase.
        """
        self.folder.begin(hyperparams=self.params)
        eval_env = make_eval_env(self.task, self.options.eval_episodes)
        try:
            for phase in self.phases:
                self._train_phase(phase, eval_env, callback)
            self.model.save(self.folder.path / "model")
        finally:
            eval_env.close()
            assert self.model.env is not None
            self.model.env.close()
        return self.folder.results

    def _train_phase(self, phase: str, eval_env: VecEnv, callback: MaybeCallback) -> None:
        """Train, evaluate, and leave the model, the evaluations, the figures and the result in the folder."""
        options, folder = self.options, self.folder
        total = self.params["offline_gradient_steps" if phase == "offline" else "n_timesteps"]
        clock = CpuClock()

        def evaluate_meanwhile() -> CurvePoint:
            with clock.pause():
                self._evaluate(phase, eval_env, options.curve_episodes, clock.seconds)
            return folder.points[-1]

        evaluation = _EvaluationCallback(evaluate_meanwhile, options.choose_eval_freq(total))
        callbacks = CallbackList([evaluation, *_as_list(callback)])
        self.model.set_logger(configure(str(folder.path / phase), ["csv", "stdout"] if options.verbose else ["csv"]))
        try:
            if phase == "offline":
                self.model.learn_offline(self.dataset, total, callback=callbacks, progress_bar=options.progress_bar)
            else:
                self.model.learn(total, callback=callbacks, progress_bar=options.progress_bar)
        except KeyboardInterrupt:
            self.model.save(folder.path / "model_interrupted")
            print(f"interrupted; the model is in {folder.path / 'model_interrupted.zip'}")
            raise
        cpu_seconds = clock.seconds
        self.model.save(folder.path / f"model_{phase}")
        returns = self._evaluate(phase, eval_env, options.eval_episodes, cpu_seconds, options.progress_bar)
        folder.draw_curve()
        if isinstance(self.task, MazeTask) and options.algo == "gac":
            plot_plans(self.model, self.task, folder.path / f"plans_{phase}.png", f"{folder.title}, {phase}")
        n_env_steps = self.model.num_timesteps if phase == "online" else 0
        folder.add_result(phase, self.model._n_updates, n_env_steps, cpu_seconds, returns, options.target_return)

    def _evaluate(
        self, phase: str, eval_env: VecEnv, n_episodes: int, cpu_seconds: float, progress_bar: bool = False
    ) -> Array:
        """Returns of the model as it is, which also make a point of the learning curve."""
        target_return = self.options.target_return
        returns = evaluate(
            self.model, eval_env, n_episodes, EVALUATION_SEED, target_return=target_return, progress_bar=progress_bar
        )
        self.folder.add_evaluation(phase, self.model.num_timesteps, self.model._n_updates, cpu_seconds, returns)
        return returns


class _EvaluationCallback(BaseCallback):
    """
    Evaluate every so many timesteps.

    SB3's own goes on with environments that have played their episodes and says at every step that one starts there:
    GAC would plan at each of them.
    """

    def __init__(self, evaluate_now: Callable[[], CurvePoint], eval_freq: int) -> None:
        super().__init__()
        self.evaluate_now = evaluate_now
        self.eval_freq = eval_freq
        self.next_timestep = eval_freq

    def _on_step(self) -> bool:
        # The end of the phase has an evaluation of its own
        last = self.model._total_timesteps - self.eval_freq / 2
        if self.eval_freq > 0 and self.next_timestep <= self.num_timesteps <= last:
            self.next_timestep += self.eval_freq
            point = self.evaluate_now()
            self.logger.record("eval/mean_reward", point.mean)
            if not np.isnan(point.score):
                self.logger.record("eval/normalized_score", point.score)
        return True


def load_data(data: str | None, task: Task, env: VecEnv) -> OfflineDataset:
    """
    The data set of a run.

    :param data: Minari id or path, path of a D4RL file; None for the task's own, which is made if need be.
    :param task: what is learnt.
    :param env: has the spaces that the data set must fit.
    :raises ValueError: when it does not.
    """
    source: Any = data
    if data is None:
        from benchmarks.datasets import generate_dataset

        source = generate_dataset(task.name)
    return load_dataset(source, env.observation_space, env.action_space)


def _as_list(callback: MaybeCallback) -> list[BaseCallback]:
    if callback is None:
        return []
    if isinstance(callback, list):
        return callback
    return [callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)]


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = make_command_parser("train", __doc__)
    parser.add_argument("--algo", choices=ALGOS, default="gac", help="GAC, or behaviour cloning with one of its decoders")
    parser.add_argument("--mode", choices=MODES, help="phases (default: all that the hyper-parameters and the data allow)")
    add_run_options(parser, "overrides")
    parser.add_argument(
        "--conf-file", dest="hyperparams", type=Path, default=HYPERPARAMS, help="hyper-parameters (default: %(default)s)"
    )
    parser.add_argument("--verbose", type=int, default=0, help="1: print what is logged")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_parser()
    given = parser.parse_args(arguments)
    th.set_num_threads(given.num_threads)
    try:
        run = Run(parse_options(given))
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(format_results(run.train()))
    print(f"all else is in {run.folder.path}")


if __name__ == "__main__":
    main()
