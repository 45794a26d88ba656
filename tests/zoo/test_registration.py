import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rl_zoo3")
pytest.importorskip("yaml")

import gymnasium as gym
import rl_zoo3
import yaml
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

from benchmarks.recipes import load_recipe, model_arguments
from sb3_gac import GAC
from sb3_gac.zoo import HYPERPARAMS, OFFLINE_HYPERPARAMS, convert_gac_params, register, sample_gac_params
from sb3_gac.zoo.__main__ import main

OF_ZOO = ("n_envs", "n_timesteps", "callback", "env_wrapper", "frame_stack")
RECIPES = {"Pendulum-v1": "Pendulum-v1", "default": "Pendulum-v1"} | {
    f"{name}-v5": f"{name.lower()}-medium" for name in ("Hopper", "Walker2d", "HalfCheetah")
}
MAZES = {f"PointMaze_{size}-v3": f"maze2d-{size.lower()}" for size in ("UMaze", "Medium", "Large")}


def load(path: Path) -> dict[str, Any]:
    entries: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return entries


def test_the_zoo_knows_gac() -> None:
    register()
    assert rl_zoo3.ALGOS["gac"] is GAC
    assert HYPERPARAMS_SAMPLER["gac"] is sample_gac_params
    assert HYPERPARAMS_CONVERTER["gac"] is convert_gac_params


def test_a_missing_zoo_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rl_zoo3", None)
    with pytest.raises(ImportError, match=r'rl_zoo3 cannot be imported .* pip install "sb3-gac\[zoo\]"'):
        register()
    with pytest.raises(SystemExit):
        main(["train", "--env", "Pendulum-v1"])
    assert "sb3-gac[zoo]" in capsys.readouterr().err


@pytest.mark.parametrize("env_id", [*RECIPES, *MAZES])
@pytest.mark.parametrize("path", [HYPERPARAMS, OFFLINE_HYPERPARAMS])
def test_the_values_are_those_of_the_benchmarks(env_id: str, path: Path) -> None:
    entries = load(path)
    if path == OFFLINE_HYPERPARAMS and env_id in ("Pendulum-v1", "default"):
        return
    expected = load_recipe({**RECIPES, **MAZES}[env_id])
    ours = entries[env_id]
    if env_id in MAZES:
        assert ours["policy"] == "MultiInputLatentPolicy"  # these observe their goal
        ours["policy"] = expected["policy"]
    if path == OFFLINE_HYPERPARAMS:
        (callback,) = ours.pop("callback")
        phase = callback["sb3_gac.zoo.OfflinePhase"]
        assert phase["gradient_steps"] == expected.pop("offline_gradient_steps")
        assert "settings" not in phase
        assert ours == expected
    else:
        # From scratch the defaults of GAC
        assert ours.keys() == {"policy", "n_envs", "n_timesteps"}


@pytest.mark.parametrize(
    ("path", "env_id"), [(path, env_id) for path in (HYPERPARAMS, OFFLINE_HYPERPARAMS) for env_id in load(path)]
)
def test_every_entry_makes_a_model(path: Path, env_id: str) -> None:
    params = load(path)[env_id]
    assert params["n_timesteps"] > 0
    if env_id == "atari":
        return  # its environments are not installed
    arguments = model_arguments({key: value for key, value in params.items() if key not in OF_ZOO})
    if env_id.startswith("PointMaze"):
        pytest.importorskip("gymnasium_robotics")
        env = gym.make(env_id)
    else:
        env = gym.make("Pendulum-v1")
    GAC(env=env, device="cpu", **arguments)
