import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna")
pytest.importorskip("matplotlib")
pytest.importorskip("yaml")

import optuna
import yaml
from optuna.trial import TrialState, create_trial

from benchmarks import study as study_module
from benchmarks.envs import TASKS, Task
from benchmarks.hyperparam import load_hyperparams, model_arguments
from benchmarks.objective import Objective, PruningCallback, suggest_params
from benchmarks.options import Options
from benchmarks.plots import CurvePoint
from benchmarks.study import counted_trials, open_storage, open_study, release_trials, serve
from benchmarks.train import Run
from benchmarks.tune import TuneOptions, main, tune
from sb3_gac import GAC

ROOT = Path(__file__).resolve().parents[2]
# Eight times shorter than the original; processes that are started know only that one
SHORT = Task("short-pendulum", "Pendulum-v1", 25, np.nan, np.nan)
PARAMS: dict[str, Any] = {
    "batch_size": 4,
    "policy_kwargs.net_arch": [8],
    "policy_kwargs.n_candidates": 4,
    "n_timesteps": 60,
    "train_freq": 30,
    "gradient_steps": 1,
    "n_envs": 1,
    "learning_starts": 10,
}
TRAIN = Options(
    env=SHORT.name, mode="online", params=PARAMS, eval_episodes=1, eval_freq=0, output=Path("search"), device="cpu"
)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TASKS, SHORT.name, SHORT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the workers
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def make_options(**changes: Any) -> TuneOptions:
    train = replace(TRAIN, **changes.pop("train", {}))
    return TuneOptions(**{"train": train, "n_trials": 2, "storage": "search/study.log", **changes})


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_study_goes_on_until_it_has_all_its_trials(capsys: pytest.CaptureFixture[str]) -> None:
    first = tune(make_options(n_trials=1))
    assert [trial.state for trial in first.trials] == [TrialState.COMPLETE]
    study = tune(make_options(n_trials=3))
    assert "the study has 1 of 3 trials already" in capsys.readouterr().out
    assert len(study.trials) == 3
    assert study.trials[0].params == first.trials[0].params
    # Random suggestions do not start again from the beginning
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 3
    again = tune(make_options(n_trials=3))
    assert len(again.trials) == 3

    rows = read_csv(Path("search", "trials.csv"))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    assert [float(row["value"]) for row in rows] == [trial.value for trial in study.trials]
    assert float(rows[0]["learning_rate"]) == study.trials[0].params["learning_rate"]
    assert is_png(Path("search", "history.png"))
    assert not Path("search", "importances.png").exists()  # of so few trials there is nothing to tell
    best = yaml.safe_load(Path("search", "best.yml").read_text())
    assert best[SHORT.name] == study.best_trial.user_attrs["hyperparams"]
    # What is given is not searched; the settings are those of a run
    assert load_hyperparams([SHORT.name], path=Path("search", "best.yml"))["batch_size"] == 4
    config = yaml.safe_load(Path("search", "trials", "0", "config.yml").read_text())
    assert config["hyperparams"] == study.trials[0].user_attrs["hyperparams"]


def test_the_same_seed_suggests_the_same() -> None:
    params = []
    for name in ("a", "b"):
        study = tune(make_options(n_trials=2, storage=f"{name}.log", train={"output": Path(name)}))
        params.append([(trial.params, trial.value) for trial in study.trials])
    assert params[0] == params[1]


def test_two_processes_share_a_study() -> None:
    study = tune(make_options(n_trials=6, workers=2, train={"env": "Pendulum-v1"}))
    assert [trial.state for trial in study.trials if trial.params] == [TrialState.COMPLETE] * 6
    workers = {trial.user_attrs["worker"] for trial in study.trials if trial.params}
    assert len(workers) == 2
    assert f"{socket.gethostname()}:{os.getpid()}" not in workers
    assert len({trial.params["learning_rate"] for trial in study.trials if trial.params}) == 6
    assert len(read_csv(Path("search", "trials.csv"))) == 6
    assert is_png(Path("search", "history.png"))
    assert is_png(Path("search", "importances.png"))


def test_a_worker_ends_with_its_parent_even_if_that_is_killed() -> None:
    program = (
        "import multiprocessing, sys, time\n"
        "from benchmarks.tune import start_worker\n"
        "def work():\n"
        "    start_worker(1)\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.get_context('spawn').Process(target=work).start()\n"
    )
    Path("parent.py").write_text(program)
    parent = subprocess.Popen([sys.executable, "parent.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "at work\n"
    parent.kill()
    # Both write there: it ends when the last of them does
    assert parent.communicate(timeout=20)[0] == ""


def test_the_best_is_checked_with_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            *("--env", "Pendulum-v1", "--mode", "online", "--eval-episodes", "1", "--eval-freq", "0", "--device", "cpu"),
            *("--n-trials", "1", "--n-checks", "1", "--output", "search", "--seed", "3"),
            *("-params", *(f"{key}:{value}" for key, value in PARAMS.items())),
        ]
    )
    rows = read_csv(Path("search", "checks.csv"))
    assert [(row["settings"], row["seed"]) for row in rows] == [("default", "1003"), ("best", "1003")]
    assert rows[0]["mean_return"] != rows[1]["mean_return"]
    output = capsys.readouterr().out
    assert "best of 1 trials: number 0" in output
    assert "| default  | 1 " in output


def test_what_is_not_finite_is_pruned_and_the_study_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    params = {**PARAMS, "return_weight": 1e39}
    with pytest.raises(RuntimeError, match="no trial of the study tune was completed"):
        tune(make_options(n_trials=3, train={"params": params}))
    study = open_study("tune", "search/study.log", 0, 0)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 3
    assert "the loss is not finite" in study.trials[0].user_attrs["reason"]
    assert "trial 2 of 3: the loss is not finite" in capsys.readouterr().out
    assert not Path("search", "best.yml").exists()
    # With settings that can be learnt, the same study goes on
    study = tune(make_options(n_trials=4))
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 3 + [TrialState.COMPLETE]
    assert read_csv(Path("search", "trials.csv"))[0]["reason"].startswith("the loss is not finite")


def make_point(score: float) -> CurvePoint:
    return CurvePoint("offline", 1, 1, 0.0, 1, score, score, score, score)


def test_a_trial_that_falls_behind_is_pruned() -> None:
    study = open_study("tune", "study.log", 0, 0)
    for _ in range(study_module.N_STARTUP_TRIALS):
        study.add_trial(create_trial(value=50.0, intermediate_values={1: 50.0, 2: 50.0, 3: 50.0}))
    task = Task("a", "a-v0", 1, 0.0, 100.0)
    points: list[CurvePoint] = []
    trial = study.ask()
    trial.suggest_float("learning_rate", 0.0, 1.0)
    callback = PruningCallback(trial)
    callback.watch(task, points)
    points.append(make_point(10.0))
    assert callback._on_step()  # a first evaluation prunes nothing
    points.append(make_point(60.0))
    assert callback._on_step() and callback._on_step()
    assert study.trials[-1].intermediate_values == {1: 10.0, 2: 60.0}
    study.tell(study.trials[-1].number, state=TrialState.PRUNED)
    row = study_module.trial_rows(study)[0]
    assert (row["state"], row["value"], row["last_evaluation"], row["n_evaluations"]) == ("PRUNED", "", 60.0, 2)

    points, behind = [], study.ask()
    callback = PruningCallback(behind)
    callback.watch(task, points)
    points.append(make_point(10.0))
    callback._on_step()
    points.append(make_point(20.0))
    with pytest.raises(optuna.TrialPruned, match="fell behind at evaluation 2"):
        callback._on_step()
    points.append(make_point(np.nan))
    with pytest.raises(optuna.TrialPruned, match="evaluation 3 is nan"):
        callback._on_step()


def test_evaluations_reach_the_study() -> None:
    study = tune(make_options(n_trials=1, train={"eval_freq": 20}))
    points = read_csv(Path("search", "trials", "0", "evaluations.csv"))
    reported = study.trials[0].intermediate_values
    assert list(reported) == [1, 2]
    assert list(reported.values()) == [float(point["mean"]) for point in points[:2]]
    assert study.trials[0].value == float(points[-1]["mean"])


def test_a_trial_of_several_seeds_has_their_mean_as_value() -> None:
    study = tune(make_options(n_trials=1, n_seeds=2, train={"eval_freq": 20, "seed": 5}))
    results = [read_csv(Path("search", "trials", "0", f"seed{i}", "results.csv"))[0] for i in range(2)]
    assert [result["seed"] for result in results] == ["5", "6"]
    assert study.trials[0].value == pytest.approx(np.mean([float(result["mean_return"]) for result in results]))
    assert list(study.trials[0].intermediate_values) == [1, 2, 3, 4]


def test_trials_of_a_killed_process_are_given_up() -> None:
    program = (
        "import os, signal\n"
        "from benchmarks.study import open_study, this_worker\n"
        "trial = open_study('tune', 'study.log', 0, 0).ask()\n"
        "trial.set_user_attr('worker', this_worker())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    study = open_study("tune", "study.log", 0, 0)
    mine, elsewhere = study.ask(), study.ask()
    mine.set_user_attr("worker", study_module.this_worker())
    elsewhere.set_user_attr("worker", "another-machine:1")
    assert counted_trials(study) == 3
    assert counted_trials(study, before=2) == 2
    assert release_trials(study) == [0]
    assert release_trials(study) == []
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING]
    assert counted_trials(study) == 2


def test_no_more_trials_are_run_than_asked_for() -> None:
    study = tune(make_options(n_trials=1))
    study.optimize(study_objective(n_trials=1), n_trials=5, catch=(Exception,))  # as another process that came late
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert len(read_csv(Path("search", "trials.csv"))) == 1


def study_objective(n_trials: int) -> Callable[[Any], float]:
    return Objective(make_options().train, n_trials)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_study_behind_a_proxy() -> None:
    pytest.importorskip("grpc")
    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tune", "--serve", address, "--storage", "sqlite:///study.db"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.split(":")[1])), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.1)
        study = tune(make_options(n_trials=2, storage=f"grpc://{address}"))
        params = [trial.params for trial in study.trials]
        assert len(params) == 2
    finally:
        server.terminate()
        server.wait()
    kept = optuna.load_study(study_name="tune", storage="sqlite:///study.db")
    assert [trial.params for trial in kept.trials] == params


def test_what_no_phase_depends_on_is_not_suggested() -> None:
    names = {}
    for mode in ("offline", "online", "offline-to-online"):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
        overrides = suggest_params(trial, mode)
        params = load_hyperparams(["maze2d-umaze"], overrides)
        assert params["learning_rate"] == f"lin_{trial.params['learning_rate']}"
        assert params["policy_kwargs"]["n_averaged"] == 2 ** trial.params["n_averaged_pow"]
        names[mode] = set(trial.params)
        if mode != "offline":
            assert params["explore_ratio"] == trial.params["explore_ratio"]
        GAC(env="Pendulum-v1", device="cpu", **model_arguments(params))  # all of them are arguments
    assert names["offline-to-online"] == names["online"]
    assert names["online"] - names["offline"] == {"explore_ratio"}


def test_what_is_given_is_not_suggested() -> None:
    trials = [optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask() for _ in range(3)]
    every = suggest_params(trials[0], "offline-to-online")
    given = ["learning_rate", "gamma", "n_score_steps", "policy_kwargs.plan_dim", "policy_kwargs.net_arch"]
    some = suggest_params(trials[1], "offline-to-online", given)
    assert set(every) - set(some) == set(given)
    recorded = {"learning_rate", "gamma", "plan_dim_pow", "net_arch"}
    assert set(trials[0].params) - set(trials[1].params) == recorded  # n_encode_steps still depends on n_steps
    suggest_params(trials[2], "offline", ["n_encode_steps", "n_score_steps"])
    assert "n_steps" not in trials[2].params


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-trials", "0"], "n_trials must be at least 1, got 0"),
        (["--algo", "bc"], "the search space is that of gac, not of bc"),
        (["--storage", "study.txt"], "a storage is a journal file ending in .log"),
        (["--storage", "grpc://"], "expected host:port"),
        (["--mode", "offline"], "cannot be trained offline"),
        (["--serve", "localhost:1", "--storage", "study.log"], "the proxy serves a database"),
        (["-params", "foo:1"], "unknown hyper-parameters foo"),
    ],
)
def test_wrong_commands_are_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--env", "Pendulum-v1", "--mode", "online", *arguments])
    assert exit_info.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_storage_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc")
    monkeypatch.setattr(study_module, "PROXY_SECONDS", 0.2)
    with pytest.raises(ConnectionError, match="start one with --serve"):
        open_storage(f"grpc://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match="the proxy serves a database"):
        serve("study.log", "localhost:1")


def test_a_study_on_postgresql(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    pwd = pytest.importorskip("pwd")
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("there is no PostgreSQL")
    if os.getuid() == 0:  # which PostgreSQL refuses
        user = pwd.getpwnam("nobody")
        rights: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    else:
        rights = {}
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    folder.chmod(0o777)
    control = ["pg_ctl", "-D", str(folder / "data"), "-w", "-l", str(folder / "server.txt")]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    url = f"postgresql+psycopg://gac:secret@127.0.0.1:{port}/postgres"
    try:
        initialise = ["initdb", "-D", str(folder / "data"), "-U", "gac", "-A", "trust", "--no-sync"]
        subprocess.run(initialise, check=True, capture_output=True, cwd=folder, **rights)
        subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder, **rights)
        studies = [open_study("tune", url, seed=0, worker=worker) for worker in range(2)]
        numbers = [study.ask().number for study in studies]
        assert numbers == [0, 1]
        assert [counted_trials(study) for study in studies] == [2, 2]
        for study in studies:
            study._storage.remove_session()
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder, **rights)
        shutil.rmtree(folder, ignore_errors=True)
    with pytest.raises(ConnectionError, match=r"gac:\*\*\*@127") as error_info:
        open_storage(url)
    assert "secret@" not in str(error_info.value)


def test_scores_where_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "pendulum", Task("pendulum", "Pendulum-v1", 20, -400.0, 0.0))
    study = tune(make_options(n_trials=1, train={"env": "pendulum"}))
    (result,) = read_csv(Path("search", "trials", "0", "results.csv"))
    assert study.trials[0].value == float(result["score"]) != float(result["mean_return"])
    assert Run(replace(TRAIN, env="pendulum")).task.horizon == 20
