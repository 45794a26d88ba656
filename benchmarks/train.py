"""
Train and evaluate GAC: from a data set, from an environment, or from the one and then the other.

    python -m benchmarks.train --env maze2d-umaze --seed 1                 the task's own data set, then its environment
    python -m benchmarks.train --env hopper-medium-replay --mode offline --data some/file.hdf5
    python -m benchmarks.train --env Pendulum-v1 -params gradient_steps:50 policy_kwargs.plan_dim:8
    python -m benchmarks.train --data mujoco/hopper/medium-v0              a Minari data set, which brings its environment
    python -m benchmarks.train --env maze2d-umaze --algo bc10              10 % behaviour cloning with the same decoder

What each run needs to be repeated, what it learnt, and how well it does are left in its folder.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.bc import BehaviourCloning, best_trajectories
from benchmarks.envs import TASKS, MazeTask, Task
from benchmarks.evaluation import Array, Interval, bootstrap_interval, evaluate, make_eval_env
from benchmarks.extra import require
from benchmarks.hyperparam import HYPERPARAMS, dump_yaml, load_hyperparams, model_arguments, parse_params
from benchmarks.plots import CurvePoint, plot_learning_curve, plot_plans
from benchmarks.record import format_range, format_table, provenance, write_rows
from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, load_dataset
from sb3_gac.data.minari import open_minari

ALGOS = {"gac": "GAC", "bc": "behaviour cloning", "bc10": "10 % behaviour cloning"}
MODES = {"offline": ("offline",), "online": ("online",), "offline-to-online": ("offline", "online")}
N_EVALUATIONS = 8
CURVE_EPISODES = 20
# Far from any seed of a training: both add the index of the environment to it
EVALUATION_SEED = 10_000


@dataclass(frozen=True)
class Options:
    """
    What to train, how, and where to leave it.

    :param env: name of a benchmark task or Gymnasium id; None for the environment of a Minari data set.
    :param data: Minari id or path, path of a D4RL file; None for the regenerated data set of a benchmark task.
    :param algo: "gac", "bc" or "bc10".
    :param mode: "offline", "online" or "offline-to-online"; None for what the hyper-parameters and the data allow.
    :param seed: of the training; the environments of the evaluations are seeded apart from it.
    :param device: as in SB3.
    :param params: hyper-parameters that take the place of those of the file.
    :param hyperparams: the file.
    :param eval_episodes: episodes of the evaluation at the end of each phase.
    :param eval_freq: timesteps between the smaller evaluations of the learning curve: gradient steps offline, environment
        steps online. None for an eighth of each phase, 0 for no learning curve.
    :param target_return: return asked for in the evaluations; None for the largest.
    :param output: folder of the run; None for one under ``runs`` named after what is run.
    :param results: CSV file of many runs, to which the results are added.
    :param progress_bar: whether to show progress.
    :param verbose: as in SB3; 1 prints what is logged.
    """

    env: str | None = None
    data: str | None = None
    algo: str = "gac"
    mode: str | None = None
    seed: int = 0
    device: str = "auto"
    params: dict[str, Any] = field(default_factory=dict)
    hyperparams: Path = HYPERPARAMS
    eval_episodes: int = 50
    eval_freq: int | None = None
    target_return: float | None = None
    output: Path | None = None
    results: Path | None = None
    progress_bar: bool = False
    verbose: int = 0


@dataclass(frozen=True)
class Result:
    """
    Evaluation of the last model of a phase, beside what it cost.

    :param task: name of the task, data set or environment.
    :param data: name of the data set; empty without one.
    :param algo: see :class:`Options`.
    :param seed: of the training.
    :param phase: "offline" or "online".
    :param score: normalised score; NaN where the task has no reference scores.
    :param score_low: lower end of its 95 % bootstrap interval over the episodes.
    :param score_high: upper end of it.
    :param mean_return: mean return in env units.
    :param return_low: lower end of its 95 % bootstrap interval over the episodes.
    :param return_high: upper end of it.
    :param n_episodes: number of episodes.
    :param target_return: return asked for; None for the largest.
    :param cpu_seconds: CPU seconds of this phase's training, evaluations left out.
    :param n_updates: gradient steps since the model was made.
    :param n_env_steps: environment steps of this phase.
    """

    task: str
    data: str
    algo: str
    seed: int
    phase: str
    score: float
    score_low: float
    score_high: float
    mean_return: float
    return_low: float
    return_high: float
    n_episodes: int
    target_return: float | None
    cpu_seconds: float
    n_updates: int
    n_env_steps: int

    @classmethod
    def of(cls, task: Task, returns: Array, **fields: Any) -> "Result":
        """
        The result of an evaluation.

        :param task: what was evaluated.
        :param returns: return of each episode in env units.
        :param fields: all that the returns do not tell: data, algo, seed, phase, target_return and the costs.
        """
        interval = bootstrap_interval(returns)
        score = Interval(*map(task.normalized_score, interval))
        return cls(
            task=task.name,
            score=score.mean,
            score_low=score.low,
            score_high=score.high,
            mean_return=interval.mean,
            return_low=interval.low,
            return_high=interval.high,
            n_episodes=len(returns),
            **fields,
        )


@dataclass(frozen=True)
class MinariTask(Task):
    """
    The environment that a Minari data set was recorded for.

    :param dataset: the ``minari.MinariDataset``.
    """

    dataset: Any

    def make_env(self) -> gym.Env[Any, Any]:
        """Build the evaluation environment."""
        env: gym.Env[Any, Any] = self.dataset.recover_environment(eval_env=True)
        return env


def find_task(env: str | None, data: str | None = None) -> Task:
    """
    A benchmark task, or what stands for one: an environment whose reference scores are NaN where nobody knows them.

    :param env: name of a task or Gymnasium id; None for the environment of the data set.
    :param data: Minari id or path.
    :raises ValueError: when there is no such environment, or none is named.
    """
    if env in TASKS:
        require("envs", "mujoco", "gymnasium_robotics")
        return TASKS[env]
    if env is not None:
        try:
            spec = gym.spec(env)
        except gym.error.Error as error:
            raise ValueError(f"no benchmark task and no environment {env!r}: {error}; tasks: {', '.join(TASKS)}") from error
        return Task(env, env, spec.max_episode_steps or -1, np.nan, np.nan)
    if data is None or Path(data).suffix in (".hdf5", ".h5"):
        raise ValueError("say which environment: a Minari data set brings one, nothing else does")
    dataset = open_minari(data)
    metadata = dataset.storage.metadata
    references = (metadata.get("ref_min_score", np.nan), metadata.get("ref_max_score", np.nan))
    return MinariTask(dataset.id, dataset.env_spec.id, dataset.env_spec.max_episode_steps or -1, *references, dataset)


def train(options: Options, callback: MaybeCallback = None) -> list[Result]:
    """
    Run one training: its phases, and an evaluation after each.

    :param options: what to train, how, and where to leave it.
    :param callback: SB3 callbacks to call as well.
    :return: one result per phase.
    :raises ValueError: when the options contradict each other or the data.
    """
    return Run(options).train(callback)


def choose_phases(options: Options, params: dict[str, Any], has_data: bool) -> list[str]:
    """
    The phases of a run, in order.

    :param options: its options.
    :param params: its hyper-parameters.
    :param has_data: whether there is a data set.
    :raises ValueError: when there is nothing to do, or a phase that was asked for cannot be.
    """
    totals = {"offline": params["offline_gradient_steps"], "online": params["n_timesteps"]}
    possible = [phase for phase, total in totals.items() if total > 0 and (phase == "online" or has_data)]
    if options.algo != "gac":
        possible = [phase for phase in possible if phase == "offline"]
    wanted = possible if options.mode is None else list(MODES[options.mode])
    if not wanted or not set(wanted) <= set(possible):
        raise ValueError(
            f"{options.algo} cannot be trained {options.mode or 'at all'}: there is {'a' if has_data else 'no'} data set, "
            f"offline_gradient_steps is {totals['offline']}, n_timesteps is {totals['online']}"
        )
    return wanted


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
        names = [name for name in (options.data, self.task.name, self.task.env_id) if name is not None]
        self.params = load_hyperparams(names, options.params, options.hyperparams)
        self.phases = choose_phases(options, self.params, options.data is not None or self.task.name in TASKS)
        require("plots", "matplotlib")
        if options.progress_bar:
            require("zoo", "tqdm", "rich")
        train_env = make_vec_env(self.task.make_env, self.params["n_envs"], seed=options.seed)
        self.dataset = _load_data(options, self.task, train_env) if "offline" in self.phases else None
        self.model = make_model(options, self.params, train_env)
        self.folder = options.output or default_folder(options, self.task, self.phases)
        self.points: list[CurvePoint] = []
        self.made_by = provenance()

    def train(self, callback: MaybeCallback = None) -> list[Result]:
        """
        Train and evaluate, phase by phase.

        :param callback: SB3 callbacks to call as well.
        :return: one result per phase.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {"options": asdict(self.options), "hyperparams": self.params, "made_by": self.made_by}
        dump_yaml(config, self.folder / "config.yml")
        results: list[Result] = []
        eval_env = make_eval_env(self.task, self.options.eval_episodes)
        try:
            for phase in self.phases:
                results.append(self._train_phase(phase, eval_env, callback))
                rows = [{**asdict(result), **self.made_by} for result in results]
                write_rows(self.folder / "results.csv", rows)
                if self.options.results is not None:
                    write_rows(self.options.results, rows[-1:], append=True)
            self.model.save(self.folder / "model")
        finally:
            eval_env.close()
            assert self.model.env is not None
            self.model.env.close()
        return results

    def _train_phase(self, phase: str, eval_env: VecEnv, callback: MaybeCallback) -> Result:
        """Train, evaluate, and leave the model, the evaluations and the figures in the folder."""
        total = self.params["offline_gradient_steps" if phase == "offline" else "n_timesteps"]
        eval_freq = max(total // N_EVALUATIONS, 1) if self.options.eval_freq is None else self.options.eval_freq
        clock = CpuClock()

        def evaluate_meanwhile() -> CurvePoint:
            with clock.pause():
                n_episodes = min(CURVE_EPISODES, self.options.eval_episodes)
                self._evaluate(phase, eval_env, n_episodes, clock.seconds)
            return self.points[-1]

        callbacks = CallbackList([_EvaluationCallback(evaluate_meanwhile, eval_freq), *_as_list(callback)])
        self.model.set_logger(configure(str(self.folder / phase), ["csv", "stdout"] if self.options.verbose else ["csv"]))
        progress_bar = self.options.progress_bar
        try:
            if phase == "offline":
                self.model.learn_offline(self.dataset, total, callback=callbacks, progress_bar=progress_bar)
            else:
                self.model.learn(total, callback=callbacks, progress_bar=progress_bar)
        except KeyboardInterrupt:
            self.model.save(self.folder / "model_interrupted")
            print(f"interrupted; the model is in {self.folder / 'model_interrupted.zip'}")
            raise
        cpu_seconds = clock.seconds
        self.model.save(self.folder / f"model_{phase}")
        returns = self._evaluate(phase, eval_env, self.options.eval_episodes, cpu_seconds, progress_bar)
        self._draw(phase)
        return Result.of(
            self.task,
            returns,
            data="" if self.dataset is None else short_name(self.dataset),
            algo=self.options.algo,
            seed=self.options.seed,
            phase=phase,
            target_return=self.options.target_return,
            cpu_seconds=cpu_seconds,
            n_updates=self.model._n_updates,
            n_env_steps=self.model.num_timesteps if phase == "online" else 0,
        )

    def _evaluate(
        self, phase: str, eval_env: VecEnv, n_episodes: int, cpu_seconds: float, progress_bar: bool = False
    ) -> Array:
        """Returns of the model as it is, which also make a point of the learning curve."""
        target_return = self.options.target_return
        returns = evaluate(
            self.model, eval_env, n_episodes, EVALUATION_SEED, target_return=target_return, progress_bar=progress_bar
        )
        interval = bootstrap_interval(returns)
        score = self.task.normalized_score(interval.mean)
        self.points.append(
            CurvePoint(phase, self.model.num_timesteps, self.model._n_updates, cpu_seconds, n_episodes, *interval, score)
        )
        write_rows(self.folder / "evaluations.csv", [point._asdict() for point in self.points])
        return returns

    def _draw(self, phase: str) -> None:
        """Draw the learning curve so far and, in a maze, the plans."""
        references = {}
        if self.dataset is not None:
            returns = [trajectory.total_return for trajectory in self.dataset.trajectories]
            references = {"data, mean": float(np.mean(returns)), "data, best": float(np.max(returns))}
        title = f"{ALGOS[self.options.algo]} on {self.task.name}, seed {self.options.seed}"
        plot_learning_curve(self.points, self.task, self.folder / "learning_curve.png", title, references)
        if isinstance(self.task, MazeTask) and self.options.algo == "gac":
            plot_plans(self.model, self.task, self.folder / f"plans_{phase}.png", f"{title}, {phase}")


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


def _load_data(options: Options, task: Task, env: VecEnv) -> OfflineDataset:
    data: Any = options.data
    if data is None:
        from benchmarks.datasets import generate_dataset

        data = generate_dataset(task.name)
    dataset = load_dataset(data, env.observation_space, env.action_space)
    if options.algo == "bc10":
        trajectories = best_trajectories(dataset.trajectories)
        return OfflineDataset(trajectories, dataset.observation_space, dataset.action_space, dataset.name)
    return dataset


def short_name(dataset: OfflineDataset) -> str:
    """
    Id of a data set, or the name of its file: where that lies on some machine says nothing.

    :param dataset: a data set.
    """
    path = Path(dataset.name)
    return path.name if path.suffix in (".hdf5", ".h5") else dataset.name


def _as_list(callback: MaybeCallback) -> list[BaseCallback]:
    if callback is None:
        return []
    if isinstance(callback, list):
        return callback
    return [callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)]


def default_folder(options: Options, task: Task, phases: Sequence[str]) -> Path:
    """
    Folder of a run that is given none; the same options have the same one.

    :param options: options of the run.
    :param task: its task.
    :param phases: its phases.
    """
    return Path("runs") / task.name.replace("/", "_") / f"{options.algo}-{'-to-'.join(phases)}-seed{options.seed}"


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", help=f"benchmark task or Gymnasium id; the tasks are {', '.join(TASKS)}")
    parser.add_argument("--data", help="Minari id or path, or a D4RL .hdf5 file (default: the task's, made if need be)")
    parser.add_argument("--algo", choices=ALGOS, default="gac", help="GAC, or behaviour cloning with its decoder")
    parser.add_argument("--mode", choices=MODES, help="phases (default: all that the hyper-parameters and the data allow)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-params", "--hyperparams", nargs="+", default=[], metavar="KEY:VALUE", help="overrides")
    parser.add_argument("--conf-file", type=Path, default=HYPERPARAMS, help="hyper-parameters (default: %(default)s)")
    parser.add_argument("--eval-episodes", type=int, default=50, help="at the end of each phase (default: %(default)s)")
    parser.add_argument(
        "--eval-freq", type=int, help="timesteps between evaluations of the learning curve (default: an eighth; 0: none)"
    )
    parser.add_argument("--target-return", type=float, help="return to ask for in evaluations (default: the largest)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: under runs/)")
    parser.add_argument("--results", type=Path, help="CSV file to add the results to")
    parser.add_argument("--num-threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")
    parser.add_argument("--verbose", type=int, default=0, help="1: print what is logged")
    return parser


def parse_options(given: argparse.Namespace) -> Options:
    """
    Options from the command line.

    :param given: what :func:`make_parser` has parsed.
    :raises ValueError: when a hyper-parameter is not written as ``key:value``.
    """
    return Options(
        env=given.env,
        data=given.data,
        algo=given.algo,
        mode=given.mode,
        seed=given.seed,
        device=given.device,
        params=parse_params(given.hyperparams),
        hyperparams=given.conf_file,
        eval_episodes=given.eval_episodes,
        eval_freq=given.eval_freq,
        target_return=given.target_return,
        output=given.output,
        results=given.results,
        progress_bar=not given.no_progress,
        verbose=given.verbose,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_parser()
    given = parser.parse_args(arguments)
    th.set_num_threads(given.num_threads)
    try:
        options = parse_options(given)
        run = Run(options)
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(format_results(run.train()))
    print(f"all else is in {run.folder}")


def format_results(results: Sequence[Result]) -> str:
    """
    Results as a table.

    :param results: at least one.
    """
    return format_table(
        [
            {
                "task": result.task,
                "algo": result.algo,
                "after": result.phase,
                "score": result.score,
                "95 %": format_range(result.score_low, result.score_high),
                "return": result.mean_return,
                "95 % ": format_range(result.return_low, result.return_high),
                "episodes": result.n_episodes,
                "updates": result.n_updates,
                "env steps": result.n_env_steps,
                "CPU s": result.cpu_seconds,
            }
            for result in results
        ]
    )


if __name__ == "__main__":
    main()
