"""What a run leaves in its folder: its settings, its evaluations, its results and its learning curve."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.envs import Task
from benchmarks.evaluation import Array
from benchmarks.hyperparam import dump_yaml
from benchmarks.options import Options
from benchmarks.plots import CurvePoint, plot_learning_curve
from benchmarks.record import format_range, format_table, provenance, write_rows
from sb3_gac.data import OfflineDataset
from sb3_gac.plots.interval import Interval, bootstrap_interval


@dataclass(frozen=True)
class Result:
    """
    Evaluation of the last model of a phase, beside what it cost.

    :param task: name of the task, data set or environment.
    :param data: name of the data set; empty without one.
    :param data_digest: see :func:`data_digest`; empty without a data set.
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
    data_digest: str
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


class RunFolder:
    """
    Where a run leaves what it has to tell.

    :param options: options of the run.
    :param task: its task.
    :param phases: its phases, after which the folder is named if the options name none.
    :param label: what learns, for titles.
    :param dataset: what is learnt from; its returns are drawn beside the learning curve.
    :param versions: of what only runs of this kind need.
    """

    def __init__(
        self,
        options: Options,
        task: Task,
        phases: Sequence[str],
        label: str,
        dataset: OfflineDataset | None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self.options, self.task = options, task
        self.path = options.output or default_folder(options, task, phases)
        self.title = f"{label} on {task.name}, seed {options.seed}"
        self.data = self.data_digest = ""
        self.references: dict[str, float] = {}
        if dataset is not None:
            self.data, self.data_digest = short_name(dataset), data_digest(dataset)
            returns = [trajectory.total_return for trajectory in dataset.trajectories]
            self.references = {"data, mean": float(np.mean(returns)), "data, best": float(np.max(returns))}
        self.made_by = {**provenance(), **(versions or {})}
        self.points: list[CurvePoint] = []
        self.results: list[Result] = []

    def begin(self, **settings: Any) -> None:
        """
        Make the folder, and write what it takes to repeat the run to ``config.yml``.

        :param settings: what there is beside the options.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        dump_yaml({"options": asdict(self.options), **settings, "made_by": self.made_by}, self.path / "config.yml")

    def add_evaluation(self, phase: str, timesteps: int, n_updates: int, cpu_seconds: float, returns: Array) -> CurvePoint:
        """
        Add an evaluation to ``evaluations.csv`` and to the learning curve.

        :param phase: "offline" or "online".
        :param timesteps: see :class:`CurvePoint`.
        :param n_updates: gradient steps since the model was made.
        :param cpu_seconds: CPU seconds of training in this phase.
        :param returns: return of each episode in env units.
        :return: the point of the learning curve.
        """
        interval = bootstrap_interval(returns)
        score = self.task.normalized_score(interval.mean)
        self.points.append(CurvePoint(phase, timesteps, n_updates, cpu_seconds, len(returns), *interval, score))
        write_rows(self.path / "evaluations.csv", [point._asdict() for point in self.points])
        return self.points[-1]

    def add_result(
        self,
        phase: str,
        n_updates: int,
        n_env_steps: int,
        cpu_seconds: float,
        returns: Array,
        target_return: float | None,
    ) -> None:
        """
        Add the result of a phase to ``results.csv``, and to the table of many runs if the options name one.

        :param phase: "offline" or "online".
        :param n_updates: gradient steps since the model was made.
        :param n_env_steps: environment steps of this phase.
        :param cpu_seconds: CPU seconds of training in this phase.
        :param returns: return of each episode of the last evaluation in env units.
        :param target_return: return asked for; None for the largest.
        """
        interval = bootstrap_interval(returns)
        score = Interval(*map(self.task.normalized_score, interval))
        result = Result(
            task=self.task.name,
            data=self.data,
            data_digest=self.data_digest,
            algo=self.options.algo,
            seed=self.options.seed,
            phase=phase,
            score=score.mean,
            score_low=score.low,
            score_high=score.high,
            mean_return=interval.mean,
            return_low=interval.low,
            return_high=interval.high,
            n_episodes=len(returns),
            target_return=target_return,
            cpu_seconds=cpu_seconds,
            n_updates=n_updates,
            n_env_steps=n_env_steps,
        )
        self.results.append(result)
        rows = [{**asdict(result), **self.made_by} for result in self.results]
        write_rows(self.path / "results.csv", rows)
        if self.options.results is not None:
            write_rows(self.options.results, rows[-1:], append=True)

    def draw_curve(self) -> None:
        """Draw the learning curve so far."""
        plot_learning_curve(self.points, self.task, self.path / "learning_curve.png", self.title, self.references)


def short_name(dataset: OfflineDataset) -> str:
    """
    Id of a data set, or the name of its file: where that lies on some machine says nothing.

    :param dataset: a data set.
    """
    path = Path(dataset.name)
    return path.name if path.suffix in (".hdf5", ".h5") else dataset.name


def data_digest(dataset: OfflineDataset) -> str:
    """
    Fingerprint of what a data set holds, twelve hexadecimal digits.

    A data set that is made again on another kind of processor has the same name, and other trajectories.

    :param dataset: a data set.
    """
    hasher = hashlib.sha256()
    for trajectory in dataset.trajectories:
        observations = trajectory.observations
        parts = observations if isinstance(observations, dict) else {"": observations}
        for array in (*(parts[key] for key in sorted(parts)), trajectory.actions, np.float32(trajectory.total_return)):
            hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:12]


def default_folder(options: Options, task: Task, phases: Sequence[str]) -> Path:
    """
    Folder of a run that is given none; the same options have the same one.

    :param options: options of the run.
    :param task: its task.
    :param phases: its phases.
    """
    return Path("runs") / task.name.replace("/", "_") / f"{options.algo}-{'-to-'.join(phases)}-seed{options.seed}"


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
