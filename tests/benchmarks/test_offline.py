from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
pytest.importorskip("yaml")
pytest.importorskip("h5py")

import h5py

from benchmarks import offline
from benchmarks.datasets import generate_dataset
from benchmarks.envs import TASKS, Task
from benchmarks.offline import COLUMNS, OUT, Job, data_digest, main, run_job
from benchmarks.table import read_rows
from sb3_gac import GAC
from sb3_gac.data import load_dataset

PENDULUM = Task("short-pendulum", "Pendulum-v1", 12, -400.0, 0.0)
SMALL: dict[str, Any] = {
    **{"batch_size": 4, "offline_gradient_steps": 6, "n_timesteps": 40},
    **{"learning_starts": 10, "train_freq": 20, "gradient_steps": 2, "n_envs": 1, "return_only": True},
    **{"policy_kwargs.net_arch": [8], "policy_kwargs.n_candidates": 4},
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A D4RL file of ten short episodes of which the last returns the most."""
    monkeypatch.setitem(TASKS, PENDULUM.name, PENDULUM)
    rng = np.random.default_rng(0)
    ends = np.tile(np.arange(12) == 11, 10)
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        file["observations"] = rng.uniform(-1, 1, size=(120, 3)).astype(np.float32)
        file["actions"] = rng.uniform(-2, 2, size=(120, 1)).astype(np.float32)
        file["rewards"] = np.repeat(np.arange(10.0), 12).astype(np.float32)
        file["terminals"], file["timeouts"] = np.zeros_like(ends), ends
    return f"{PENDULUM.name}={tmp_path / 'data.hdf5'}"


def test_a_job_is_a_command_that_makes_the_same_job(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Job] = []

    def find(parser: Any, arguments: Any, columns: Any, make_jobs: Any, run: Any) -> None:
        jobs.extend(make_jobs(parser.parse_args(arguments)))

    monkeypatch.setattr(offline.runner, "run_command", find)
    job = Job("gac", data, 3, True, "no-weights", {"policy_kwargs.plan_dim": 8, "learning_rate": "lin_1e-3"})
    main(job.command([])[2:])
    assert jobs == [job]
    assert job.key() == {
        **{"algo": "gac", "task": PENDULUM.name, "data": "data.hdf5", "seed": "3", "mode": "offline-to-online"},
        **{"control": "no-weights", "overrides": '{"learning_rate": "lin_1e-3", "policy_kwargs.plan_dim": 8}'},
    }


def test_settings_are_those_of_the_recipe_the_control_and_the_command() -> None:
    params = Job("gac", "maze2d-umaze", control="no-plan", overrides={"target_kl": 1.0}).resolve()
    assert params["kl_coef"] == 1000.0 and params["target_kl"] == 1.0 and params["policy_kwargs"]["net_arch"]["qf"] == [64, 64]
    cloning = Job("bc10", "hopper-medium", overrides={"policy_kwargs.plan_dim": 8}).resolve()
    assert cloning["policy_kwargs"]["plan_dim"] == 8 and cloning["policy_kwargs"]["plan_horizon"] is None


@pytest.mark.parametrize("algo", ["gac", "bc", "bc10"])
def test_the_row_of_a_job(data: str, tmp_path: Path, algo: str) -> None:
    curves = tmp_path / "curves.csv"
    is_finetuned = algo == "gac"
    row = run_job(Job(algo, data, 1, is_finetuned, overrides=SMALL), 3, curves, save=tmp_path, n_eval_episodes=3)
    assert tuple(row) == COLUMNS
    assert row["score"] == pytest.approx(100 * (row["mean_return"] + 400) / 400)
    assert row["information"] == ("none" if algo == "bc" else "return")
    phases = ["offline", "online"] if is_finetuned else ["offline"]
    steps = [(point["phase"], point["step"]) for point in read_rows(curves)]
    assert steps[:2] == [("offline", "3"), ("offline", "6")]
    assert {phase for phase, _ in steps} == set(phases)
    assert row["n_env_steps"] == (40 if is_finetuned else "") and (row["online_score"] != "") == is_finetuned
    for phase in phases:
        assert (tmp_path / f"model_{phase}.zip").is_file() and (tmp_path / phase / "progress.csv").is_file()
    if is_finetuned:
        model = GAC.load(tmp_path / "model_offline", device="cpu")
        assert model._n_updates == 6


def test_ten_percent_cloning_sees_the_best_episode_alone(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def learn(self: Any, dataset: Any, *_: Any, **__: Any) -> None:
        seen.extend(trajectory.total_return for trajectory in dataset.trajectories)

    monkeypatch.setattr(GAC, "learn_offline", learn)
    for algo in ("bc10", "bc"):
        run_job(Job(algo, data, overrides=SMALL), n_eval_episodes=1)
    assert seen == [108.0, *(12.0 * i for i in range(10))]


def test_the_same_seed_makes_the_same_row_and_evaluations_change_nothing(data: str) -> None:
    rows = [
        run_job(Job("gac", data, seed, overrides=SMALL), freq, n_eval_episodes=2) for seed, freq in ((0, 0), (0, 2), (1, 0))
    ]
    assert rows[0]["mean_return"] == rows[1]["mean_return"] != rows[2]["mean_return"]
    assert rows[0]["data_digest"] == rows[2]["data_digest"]


def test_the_command_writes_a_row_once(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    settings = [f"{name}={value if not isinstance(value, bool) else 'true'}" for name, value in SMALL.items()]
    command = ["--data", data, "--eval-episodes", "1", "--out", str(out), "--set", *settings]
    main(command)
    main(command)
    (row,) = read_rows(out)
    assert tuple(row) == COLUMNS and row["task"] == PENDULUM.name and row["n_updates"] == "6"
    assert row["command"].startswith("python -m benchmarks.offline --data") and "--eval-episodes 1" in row["command"]
    assert "1 of 1 jobs have a row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nothing"], "expected a task or ENV=DATA"),
        (["--data", "nothing=some.hdf5"], "no benchmark task and no environment"),
        (["--data", "maze2d-umaze", "--algo", "bc", "--finetune"], "only gac is fine-tuned"),
        (["--data", "maze2d-umaze", "--algo", "bc", "--control", "no-plan"], "controls are of gac alone"),
        (["--data", "maze2d-umaze", "--set", "plan_size=3"], "unknown hyper-parameters: plan_size"),
        (["--data", "maze2d-umaze", "--seed", "0", "1", "--save", "somewhere"], "--save is for a single training"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_minari_data_set_names_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    path = generate_dataset("maze2d-umaze", 300, output=tmp_path)
    task = Job("gac", f"data={path}").task
    assert (task.horizon, task.ref_max_score) == (300, 161.86)
    assert (
        Job("gac", f"maze2d-umaze={path}").key()["data"] == "gac/maze2d-umaze-v0" == Job("gac", "maze2d-umaze").key()["data"]
    )
    env = task.make_env()
    dataset = load_dataset(path, env.observation_space, env.action_space)
    again = generate_dataset("maze2d-umaze", 300, output=tmp_path / "again")
    assert data_digest(dataset) == data_digest(load_dataset(again))
    other = generate_dataset("maze2d-umaze", 300, seed=1, output=tmp_path / "other")
    assert data_digest(dataset) != data_digest(load_dataset(other))


def test_the_table_has_the_columns_of_the_command() -> None:
    rows = read_rows(OUT)
    assert rows and tuple(rows[0]) == COLUMNS
    assert all(row["task"] in TASKS and float(row["score"]) < 300 for row in rows)
    keys = [tuple(row[name] for name in (*offline.KEY_COLUMNS, "commit")) for row in rows]
    assert len(set(keys)) == len(keys)
