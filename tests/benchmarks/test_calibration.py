from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")
pytest.importorskip("yaml")

from benchmarks.calibration import calibrate, choose_targets, main
from benchmarks.envs import Task
from benchmarks.job import read_rows
from sb3_gac import GAC


class ObedientPolicy:
    """Whoever asks for a return gets the torque of that size."""

    def predict(self, observations: Any, state: Any = None, target_return: float = 0.0, **_: Any) -> tuple[Any, Any]:
        return np.full((len(observations), 1), target_return, dtype=np.float32), state


class TorqueReward(gym.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(action[0]), terminated, truncated, info


class TorqueTask(Task):
    def make_env(self) -> gym.Env[Any, Any]:
        return TorqueReward(super().make_env())


def test_each_return_is_asked_for() -> None:
    task = TorqueTask("torque", "Pendulum-v1", 4, 0.0, 1.0)
    rows = calibrate(ObedientPolicy(), task, [0.5, 1.5], n_episodes=2)  # type: ignore[arg-type]
    assert [(row["task"], row["asked"], row["mean_return"], row["n_episodes"]) for row in rows] == [
        ("torque", 0.5, 2.0, 2),
        ("torque", 1.5, 6.0, 2),
    ]


def test_targets_are_quantiles_and_more_than_was_seen() -> None:
    assert choose_targets([float(value) for value in range(101)]) == [10.0, 50.0, 90.0, 99.0, 100.0, 145.0]
    assert choose_targets([3.0, 3.0]) == [3.0]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    policy_kwargs = {"net_arch": [8], "n_candidates": 4}
    GAC("MlpLatentPolicy", "Pendulum-v1", policy_kwargs=policy_kwargs, seed=3, device="cpu").save("model")
    arguments = [
        "--model",
        "model.zip",
        "--env",
        "Pendulum-v1",
        "--eval-episodes",
        "1",
        "--results",
        "asked.csv",
        "--no-progress",
    ]
    main([*arguments, "--targets", "-900"])
    assert "-900.0" in capsys.readouterr().out
    (row,) = read_rows(tmp_path / "asked.csv")
    assert (row["asked"], row["seed"], row["model"]) == ("-900.0", "3", "model.zip")
    assert float(row["mean_return"]) < 0
    with pytest.raises(SystemExit):
        main(arguments)
    assert "--targets or by --data" in capsys.readouterr().err
