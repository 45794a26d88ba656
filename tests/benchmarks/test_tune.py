from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna")
pytest.importorskip("yaml")
pytest.importorskip("rl_zoo3")

import optuna
from optuna.trial import TrialState, create_trial

from benchmarks import tune
from benchmarks.offline import Job
from benchmarks.recipes import model_arguments
from benchmarks.tune import N_STARTUP_TRIALS, main, open_study, search, suggest_overrides, value_of_trial
from sb3_gac import GAC

JOB = Job("gac", "maze2d-umaze", overrides={"offline_gradient_steps": 800, "policy_kwargs.plan_dim": 3})


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """In place of a training: its value is minus the effective horizon, and it evaluates twice on the way."""
    seen: list[Job] = []

    def run_job(job: Job, eval_freq: int, n_eval_episodes: int, tell: Any) -> dict[str, Any]:
        assert eval_freq == 100  # an eighth
        seen.append(job)
        for step in (1, 2, 3):
            tell(step, -float(job.overrides["effective_horizon"]))
        value = -float(job.overrides["effective_horizon"])
        return {"score": value, "mean_return": -value, "online_score": np.nan, "online_mean_return": 7.0}

    monkeypatch.setattr(tune, "run_job", run_job)
    return seen


def test_a_study_goes_on_until_it_has_all_its_trials(tmp_path: Path, jobs: list[Job]) -> None:
    storage = str(tmp_path / "new" / "study.log")
    search(JOB, open_study("a", storage, seed=0), 2, 1)
    study = open_study("a", storage, seed=1)
    search(JOB, study, 4, 1)
    search(JOB, study, 4, 1)
    assert len(study.trials) == len(jobs) == 4
    assert study.best_value == max(-float(job.overrides["effective_horizon"]) for job in jobs)
    assert study.best_trial.user_attrs["overrides"] in [job.overrides for job in jobs]


def test_the_value_is_that_of_the_last_phase(tmp_path: Path, jobs: list[Job]) -> None:
    study = open_study("a", str(tmp_path / "study.log"))
    job = Job("gac", "maze2d-umaze", is_finetuned=True, overrides={"offline_gradient_steps": 300, "n_timesteps": 500})
    search(job, study, 1, 1)
    assert study.best_value == 7.0  # there is no normalised score


def test_what_is_given_is_kept_and_what_is_suggested_makes_a_model(tmp_path: Path) -> None:
    overrides = suggest_overrides(open_study("a", str(tmp_path / "study.log"), seed=0).ask(), JOB)
    assert overrides["offline_gradient_steps"] == 800 and overrides["policy_kwargs.plan_dim"] == 3
    assert overrides["learning_rate"].startswith("lin_") and "explore_ratio" not in overrides
    job = Job("gac", "maze2d-umaze", overrides=overrides)
    GAC(**model_arguments(job.resolve()), device="cpu")


def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path, jobs: list[Job]) -> None:
    study = open_study("a", str(tmp_path / "study.log"), seed=0)
    for _ in range(N_STARTUP_TRIALS):
        study.add_trial(create_trial(value=50.0, intermediate_values={1: 50.0, 2: 50.0, 3: 50.0}))
    with pytest.raises(optuna.TrialPruned, match="fell behind at evaluation 2"):
        value_of_trial(study.ask(), JOB, 1)


def test_a_loss_that_is_not_finite_prunes_its_trial_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("the loss is not finite")

    monkeypatch.setattr(tune, "run_job", fail)
    study = open_study("a", str(tmp_path / "study.log"), seed=0)
    search(JOB, study, 2, 1)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 2


def test_a_database_is_a_storage_too(tmp_path: Path, jobs: list[Job]) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search(JOB, open_study("a", storage, seed=0), 1, 1)
    assert len(open_study("a", storage).trials) == 1


def test_the_command_prints_the_one_that_trains_the_best_again(
    tmp_path: Path, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", "offline_gradient_steps=800", "--storage", str(tmp_path / "study.log")]
    main(["--data", "maze2d-umaze", "--n-trials", "1", *given])
    output = capsys.readouterr().out
    assert "best of 1 trials: number 0" in output
    assert "python -m benchmarks.offline --data maze2d-umaze --algo gac --seed 1000 --set" in output
