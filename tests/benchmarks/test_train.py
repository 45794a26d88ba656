import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("h5py")
pytest.importorskip("matplotlib")
pytest.importorskip("minari")
pytest.importorskip("mujoco")
pytest.importorskip("tqdm")
pytest.importorskip("yaml")

import h5py
import yaml

from benchmarks import datasets, evaluation, train
from benchmarks.bc import BehaviourCloning
from benchmarks.envs import TASKS, MinariTask, Task, find_task, get_task
from benchmarks.hyperparam import load_hyperparams
from benchmarks.options import Options, choose_phases
from benchmarks.run_folder import data_digest
from benchmarks.train import main
from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, load_dataset

N_TRAJECTORIES, HORIZON = 12, 20
PARAMS: dict[str, Any] = {
    "policy": "MlpLatentPolicy",
    "policy_kwargs": {"net_arch": [8], "n_candidates": 4},
    "offline_gradient_steps": 8,
    "n_timesteps": 60,
    "train_freq": 10,
    "gradient_steps": 2,
    "n_envs": 1,
    "learning_starts": 10,
    "batch_size": 4,
}
SHORT_PENDULUM = Task("short-pendulum", "Pendulum-v1", HORIZON, -400.0, 0.0)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TASKS, SHORT_PENDULUM.name, SHORT_PENDULUM)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A D4RL file of random actions in the pendulum; each trajectory has a return of its own."""
    rng = np.random.default_rng(0)
    n_steps = N_TRAJECTORIES * HORIZON
    timeouts = np.zeros(n_steps, dtype=bool)
    timeouts[HORIZON - 1 :: HORIZON] = True
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        file["observations"] = rng.uniform(-1, 1, size=(n_steps, 3)).astype(np.float32)
        file["actions"] = rng.uniform(-2, 2, size=(n_steps, 1)).astype(np.float32)
        file["rewards"] = np.repeat(np.arange(N_TRAJECTORIES, dtype=np.float32), HORIZON) / HORIZON
        file["terminals"] = np.zeros(n_steps, dtype=bool)
        file["timeouts"] = timeouts
    return str(tmp_path / "data.hdf5")


def load(data: str) -> OfflineDataset:
    return load_dataset(data, action_space=gym.make("Pendulum-v1").action_space)


def make_options(data: str | None, **changes: Any) -> Options:
    options = Options(env=SHORT_PENDULUM.name, data=data, params=PARAMS, eval_episodes=2, output=Path("run"), device="cpu")
    return replace(options, **changes)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class CountingCallback(BaseCallback):
    n_steps = 0

    def _on_step(self) -> bool:
        self.n_steps += 1
        return True


def test_offline_to_online(data: str) -> None:
    callback = CountingCallback()
    options = make_options(data, eval_freq=30, results=Path("all.csv"), params={**PARAMS, "n_timesteps": 100})
    results = train.train(options, callback)
    assert [result.phase for result in results] == ["offline", "online"]
    offline, online = results
    assert (offline.n_updates, offline.n_env_steps) == (8, 0)
    assert (online.n_updates, online.n_env_steps) == (8 + 2 * 9, 100)  # the first ten steps are those of learning_starts
    assert callback.n_steps == 8 + 100
    for result in results:
        assert (result.data, result.n_episodes) == ("data.hdf5", 2)
        assert result.return_low <= result.mean_return <= result.return_high
        assert result.score == pytest.approx(100 * (result.mean_return + 400) / 400)
        assert result.score_low <= result.score <= result.score_high
        assert result.cpu_seconds > 0

    folder = Path("run")
    rows = read_csv(folder / "results.csv")
    assert [row["phase"] for row in rows] == ["offline", "online"]
    assert float(rows[1]["score"]) == results[1].score
    assert rows[0]["torch"] and rows[0]["command"]
    assert read_csv(Path("all.csv")) == rows

    points = [(row["phase"], int(row["timesteps"])) for row in read_csv(folder / "evaluations.csv")]
    # None at 90: the end is nearer than half the interval
    assert points == [("offline", 8), ("online", 30), ("online", 60), ("online", 100)]
    for name in ("learning_curve.png", "model_offline.zip", "model_online.zip"):
        assert (folder / name).is_file()
    assert {"train/loss", "eval/mean_reward"} <= read_csv(folder / "online" / "progress.csv")[-1].keys()

    model = GAC.load(folder / "model", device="cpu")
    actions, _ = model.predict(np.zeros((2, 3), np.float32), deterministic=True)
    assert actions.shape == (2, 1)


def test_the_folder_holds_what_it_takes_to_repeat_the_run(data: str) -> None:
    options = make_options(data, seed=3, eval_freq=0, target_return=5.0, mode="offline")
    first = train.train(options)
    config = yaml.safe_load(Path("run", "config.yml").read_text())
    assert config["hyperparams"] == load_hyperparams([SHORT_PENDULUM.env_id], PARAMS)
    assert config["made_by"]["numpy"] == np.__version__
    saved = {**config["options"], "hyperparams": Path(config["options"]["hyperparams"]), "output": Path("again")}
    again = train.train(Options(**saved))
    assert [row["phase"] for row in read_csv(Path("again", "evaluations.csv"))] == ["offline"]
    assert again == [replace(first[0], cpu_seconds=again[0].cpu_seconds)]
    assert again[0].target_return == 5.0


def test_online_from_nothing() -> None:
    options = make_options(None, env="Pendulum-v1", params={**PARAMS, "n_timesteps": 30, "n_envs": 2}, eval_episodes=1)
    (result,) = train.train(options, StopTrainingOnMaxEpisodes(max_episodes=5))
    assert (result.phase, result.data, result.n_env_steps) == ("online", "", 40)
    assert np.isnan(result.score)
    assert result.mean_return < 0


@pytest.mark.parametrize("algo", ["bc", "bc10"])
def test_behaviour_cloning_by_the_same_path(algo: str, data: str) -> None:
    run = train.Run(make_options(data, algo=algo))
    assert run.dataset is not None
    returns = [round(trajectory.total_return) for trajectory in run.dataset.trajectories]
    assert returns == (list(range(N_TRAJECTORIES)) if algo == "bc" else [11, 10])
    (result,) = run.train()
    assert (result.phase, result.algo, result.n_updates) == ("offline", algo, 8)
    assert result.data_digest == data_digest(load(data))  # of the whole, for runs to be told apart by it
    BehaviourCloning.load("run/model", device="cpu")


def test_the_digest_is_of_what_the_data_holds(data: str) -> None:
    dataset = load(data)
    same = load(data).trajectories
    assert data_digest(dataset) == data_digest(replace(dataset, trajectories=same, name="other"))
    changed = [replace(same[0], actions=same[0].actions * 0.5), *same[1:]]
    assert data_digest(replace(dataset, trajectories=changed)) != data_digest(dataset)
    assert data_digest(replace(dataset, trajectories=same[:-1])) != data_digest(dataset)


class Interrupt(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps == 5:
            raise KeyboardInterrupt
        return True


def test_an_interrupted_run_leaves_its_model(data: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        train.train(make_options(data), Interrupt())
    assert GAC.load("run/model_interrupted", device="cpu")._n_updates == 5
    assert not Path("run", "results.csv").exists()


@pytest.mark.parametrize(
    ("algo", "mode", "n_offline", "n_online", "has_data", "phases"),
    [
        ("gac", None, 1, 1, True, ["offline", "online"]),
        ("gac", None, 1, 1, False, ["online"]),
        ("gac", None, 1, 0, True, ["offline"]),
        ("gac", None, 0, 1, True, ["online"]),
        ("gac", "offline", 1, 1, True, ["offline"]),
        ("gac", "online", 1, 1, True, ["online"]),
        ("gac", "offline-to-online", 1, 1, True, ["offline", "online"]),
        ("bc", None, 1, 1, True, ["offline"]),
        ("gac", None, 0, 0, True, None),
        ("gac", None, 1, 0, False, None),
        ("gac", "offline", 1, 1, False, None),
        ("gac", "offline-to-online", 1, 0, True, None),
        ("bc10", "online", 1, 1, True, None),
    ],
)
def test_phases(algo: str, mode: str | None, n_offline: int, n_online: int, has_data: bool, phases: list[str] | None) -> None:
    options = Options(algo=algo, mode=mode)
    params = {"offline_gradient_steps": n_offline, "n_timesteps": n_online}
    if phases is None:
        with pytest.raises(ValueError, match="cannot be trained"):
            choose_phases(options, params, has_data)
    else:
        assert choose_phases(options, params, has_data) == phases


def test_any_environment_is_a_task() -> None:
    task = find_task("Pendulum-v1")
    assert (task.env_id, task.horizon) == ("Pendulum-v1", 200)
    assert np.isnan(task.normalized_score(1.0))
    assert task.make_env().spec.max_episode_steps == 200
    assert find_task("hopper-medium", "some.hdf5") is get_task("hopper-medium")


def test_a_minari_data_set_brings_its_environment_and_scores(tmp_path: Path) -> None:
    path = datasets.generate_dataset("maze2d-umaze", 300, output=tmp_path)
    task = find_task("data", str(path))
    assert isinstance(task, MinariTask)
    maze = get_task("maze2d-umaze")
    assert (task.name, task.horizon) == ("gac/maze2d-umaze-v0", maze.horizon)
    assert task.normalized_score(100.0) == maze.normalized_score(100.0)
    assert task.make_env().observation_space == maze.make_env().observation_space


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "Foo-v0"], "no benchmark task and no environment 'Foo-v0'"),
        (["--data", "some.hdf5"], "say which environment"),
        ([], "say which environment"),
        (["--env", "Pendulum-v1", "-params", "foo:1"], "unknown hyper-parameters foo"),
        (["--env", "Pendulum-v1", "-params", "foo"], "expected key:value"),
        (["--env", "Pendulum-v1", "--algo", "bc"], "cannot be trained"),
        (["--env", "hopper-medium", "--data", "none.hdf5"], "No such file"),
    ],
)
def test_wrong_commands_are_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, "--no-progress"])
    assert exit_info.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_command(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            *("--env", SHORT_PENDULUM.name, "--data", data, "--mode", "offline", "--eval-episodes", "2", "--seed", "1"),
            *("-params", "policy_kwargs:dict(net_arch=[8],n_candidates=4)", "offline_gradient_steps:2"),
        ]
    )
    output = capsys.readouterr().out
    folder = Path("runs", "short-pendulum", "gac-offline-seed1")
    assert str(folder) in output
    assert "| short-pendulum | gac  | offline |" in output
    assert (folder / "model.zip").is_file()


def test_the_training_environments_are_seeded_apart_from_the_evaluations(data: str) -> None:
    run = train.Run(make_options(data, seed=7))
    assert run.model.env is not None
    expected, _ = gym.make("Pendulum-v1").reset(seed=7)
    np.testing.assert_array_equal(run.model.env.reset()[0], expected)
    assert evaluation.EVALUATION_SEED > 1000
