import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from benchmarks.envs import MazeTask, Task, get_task
from benchmarks.plots import CurvePoint, plot_learning_curve, plot_plans
from sb3_gac import GAC
from sb3_gac.plots import roll_out
from sb3_gac.plots.maze import positions_of

N_STARTS = 3


@pytest.fixture(scope="module")
def task() -> MazeTask:
    task = get_task("maze2d-umaze")
    assert isinstance(task, MazeTask)
    return dataclasses.replace(task, horizon=12)


@pytest.fixture(scope="module")
def model(task: MazeTask) -> GAC:
    return GAC("MlpLatentPolicy", task.make_env(), policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("phases", [["offline"], ["online"], ["offline", "online"]])
@pytest.mark.parametrize("references", [None, {"data, mean": 3.0, "data, best": 9.0}])
def test_a_learning_curve_is_drawn(phases: list[str], references: dict[str, float] | None, tmp_path: Path) -> None:
    points = [CurvePoint(phase, 10 * i, 10 * i, 0.1, 5, i, i - 1.0, i + 1.0, np.nan) for phase in phases for i in (1, 2)]
    for name, scale in (("scored", (0.0, 10.0)), ("unscored", (np.nan, np.nan))):
        path = tmp_path / name / "curve.png"
        plot_learning_curve(points, Task("a", "a-v0", 1, *scale), path, "title", references)
        assert is_png(path)


def test_plans_are_drawn(model: GAC, task: MazeTask, tmp_path: Path) -> None:
    plot_plans(model, task, tmp_path / "plans.png", "title", n_starts=N_STARTS)
    assert is_png(tmp_path / "plans.png")


def test_all_kinds_of_plans_start_at_the_same_places(model: GAC, task: MazeTask) -> None:
    envs = [task.make_env() for _ in range(N_STARTS)]
    rollouts = {kind: roll_out(model, envs, task.horizon, kind, seed=4) for kind in ("prior", "exploit", "explore")}
    starts = [[positions_of(rollout.observations)[0] for rollout in of_kind] for of_kind in rollouts.values()]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])
    assert len(np.unique(starts[0], axis=0)) == N_STARTS
    assert all(len(rollout) == task.horizon for of_kind in rollouts.values() for rollout in of_kind)


def test_a_plan_from_the_prior_is_kept_to_the_end(model: GAC, task: MazeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    n_planned = []
    monkeypatch.setattr(model.policy.actor, "replan_freq", 2)
    plan = model.policy.actor.plan
    monkeypatch.setattr(model.policy.actor, "plan", lambda obs, *rest: (n_planned.append(len(obs)), plan(obs, *rest))[1])
    envs = [task.make_env() for _ in range(2)]
    roll_out(model, envs, task.horizon, "prior", seed=0)
    assert n_planned == []
    roll_out(model, envs, task.horizon, "exploit", seed=0)
    assert n_planned == [2] * (task.horizon // 2)
