"""What a trial of a search is worth: suggest settings, train with them, and stop when they fall behind."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.envs import Task
from benchmarks.options import Options
from benchmarks.plots import CurvePoint
from benchmarks.run_folder import Result
from benchmarks.study import counted_trials, this_worker
from benchmarks.train import Run
from sb3_gac.zoo.sampler import convert_gac_params, suggest_learning, suggest_online

if TYPE_CHECKING:
    import optuna


class SurplusTrialError(Exception):
    """Another process has begun the last trial asked for."""


class Objective:
    """
    Train and evaluate what a trial suggests.

    :param options: of each run; ``mode`` and ``output`` are set.
    :param n_trials: trials that the study is to have in all.
    :param n_seeds: seeds that each trial is trained with; its value is the mean.
    """

    def __init__(self, options: Options, n_trials: int, n_seeds: int = 1) -> None:
        assert options.output is not None
        self.options = options
        self.folder = options.output / "trials"
        self.n_trials = n_trials
        self.n_seeds = n_seeds

    def __call__(self, trial: "optuna.Trial") -> float:
        """
        Value of a trial.

        :param trial: the trial.
        :raises optuna.TrialPruned: when it falls behind, or a loss or a return is not finite.
        :raises SurplusTrialError: when the study has all its trials already.
        """
        import optuna

        trial.set_user_attr("worker", this_worker())
        if counted_trials(trial.study, before=trial.number) >= self.n_trials:
            trial.study.stop()
            raise SurplusTrialError
        params = {**suggest_params(trial, self.options.mode, self.options.params), **self.options.params}
        callback = PruningCallback(trial)
        values = []
        try:
            for i in range(self.n_seeds):
                folder = self.folder / str(trial.number) / (f"seed{i}" if self.n_seeds > 1 else "")
                run = Run(replace(self.options, params=params, seed=self.options.seed + i, output=folder))
                trial.set_user_attr("hyperparams", run.params)
                callback.watch(run.task, run.folder.points)
                values.append(objective_value(run.task, run.train(callback)[-1]))
        except (ValueError, AssertionError) as error:  # what GAC raises when its loss is not finite
            trial.set_user_attr("reason", str(error))
            raise optuna.TrialPruned(str(error)) from error
        except optuna.TrialPruned as error:
            trial.set_user_attr("reason", str(error))
            raise
        return float(np.mean(values))


class PruningCallback(BaseCallback):
    """
    Tell Optuna the evaluations of the runs of a trial, one after the other, and stop when they fall behind.

    :param trial: the trial.
    """

    task: Task
    points: Sequence[CurvePoint]

    def __init__(self, trial: "optuna.Trial") -> None:
        super().__init__()
        self.trial = trial
        self.n_seen = 0  # of this run
        self.n_reported = 0  # of all

    def watch(self, task: Task, points: Sequence[CurvePoint]) -> None:
        """
        Turn to the next run.

        :param task: its task.
        :param points: its evaluations, to which it adds.
        """
        self.task, self.points = task, points
        self.n_seen = 0

    def _on_step(self) -> bool:
        import optuna

        for point in self.points[self.n_seen :]:
            self.n_seen += 1
            self.n_reported += 1
            value = objective_value(self.task, point)
            if not np.isfinite(value):
                raise optuna.TrialPruned(f"the return of evaluation {self.n_reported} is {value}")
            self.trial.report(value, self.n_reported)
            if self.trial.should_prune():
                raise optuna.TrialPruned(f"fell behind at evaluation {self.n_reported}")
        return True


class PartialTrial:
    """
    A trial that is not asked for what is given: it would be recorded, and modelled, though nothing depends on it.

    :param trial: the trial.
    :param given: names of hyper-parameters as the command line knows them.
    """

    def __init__(self, trial: "optuna.Trial", given: Collection[str]) -> None:
        self.trial = trial
        self.given = given

    def suggest_float(self, name: str, low: float, high: float, **kwargs: Any) -> float:
        """As Optuna's; some value where all that it bears on is given."""
        return low if self._is_given(name, low) else self.trial.suggest_float(name, low, high, **kwargs)

    def suggest_int(self, name: str, low: int, high: int, **kwargs: Any) -> int:
        """As Optuna's; some value where all that it bears on is given."""
        return low if self._is_given(name, low) else self.trial.suggest_int(name, low, high, **kwargs)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """As Optuna's; some value where all that it bears on is given."""
        return choices[0] if self._is_given(name, choices[0]) else self.trial.suggest_categorical(name, choices)

    def _is_given(self, name: str, value: Any) -> bool:
        return _overrides({name: value}).keys() <= set(self.given)


def suggest_params(trial: "optuna.Trial", mode: str | None, given: Collection[str] = ()) -> dict[str, Any]:
    """
    Overrides of the file's hyper-parameters, for :func:`benchmarks.hyperparam.load_hyperparams`.

    :param trial: the trial.
    :param mode: phases of the run; what bears on none of them is not suggested.
    :param given: names of those that are given, and not suggested either.
    """
    partial: Any = PartialTrial(trial, given)
    suggested = suggest_learning(partial)
    if mode != "offline":
        suggested |= suggest_online(partial)
    overrides = _overrides(suggested)
    overrides["learning_rate"] = f"lin_{overrides['learning_rate']}"
    return {name: value for name, value in overrides.items() if name not in given}


def _overrides(suggested: Mapping[str, Any]) -> dict[str, Any]:
    """What was suggested as the command line names it, one entry of a dict at a time: the others stay those of the file."""
    params = convert_gac_params(suggested)
    policy_kwargs = {f"policy_kwargs.{name}": value for name, value in params.pop("policy_kwargs", {}).items()}
    return params | policy_kwargs


def objective_value(task: Task, evaluation: Result | CurvePoint) -> float:
    """
    What is maximised.

    :param task: what was evaluated.
    :param evaluation: the evaluation.
    :return: the normalised score, or the mean return where there are no reference scores.
    """
    if not np.isnan(task.ref_max_score):
        return evaluation.score
    return evaluation.mean if isinstance(evaluation, CurvePoint) else evaluation.mean_return
