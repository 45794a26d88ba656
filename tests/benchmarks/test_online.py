import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

pytest.importorskip("rl_zoo3")
pytest.importorskip("sb3_contrib")

from benchmarks import online
from benchmarks.online import COLUMNS, OUT, Job, TerminalReward, evaluate_job, main, make_model, zoo_params
from benchmarks.recipes import parse_overrides
from benchmarks.table import append_row, read_rows


@pytest.mark.parametrize("terminates", [True, False])
def test_the_return_is_paid_at_the_last_step(diary_env: Any, terminates: bool) -> None:
    env = TerminalReward(diary_env(length=4, terminates=terminates))
    for _ in range(2):  # an episode starts anew
        env.reset()
        steps = [env.step(env.action_space.sample()) for _ in range(4)]
        assert [reward for _, reward, *_ in steps] == [0.0, 0.0, 0.0, 1.0 + 2.0 + 3.0 + 4.0]
        assert steps[-1][2:4] == (terminates, not terminates)


def test_an_episode_that_is_left_pays_nothing(diary_env: Any) -> None:
    env = TerminalReward(diary_env(length=2))
    env.reset()
    env.step(env.action_space.sample())
    env.reset()
    assert [env.step(env.action_space.sample())[1] for _ in range(2)] == [0.0, 3.0]


def test_the_zoo_parameters_of_ppo_on_cartpole() -> None:
    source, params = zoo_params("ppo", "CartPole-v1")
    assert source == "zoo" and "n_timesteps" not in params
    assert isinstance(params["learning_rate"], LinearSchedule) and params["learning_rate"](0.5) == pytest.approx(0.0005)
    assert params["clip_range"](1.0) == pytest.approx(0.2)
    assert params["n_steps"] == 32 and params["batch_size"] == 256
    assert Job("ppo", "CartPole-v1", 1).resolve().n_envs == 8
    assert Job("ppo", "CartPole-v1", 1, n_envs=2).resolve().n_envs == 2


def test_the_zoo_parameters_of_sac_on_pendulum() -> None:
    assert zoo_params("sac", "Pendulum-v1") == ("zoo", {"policy": "MlpPolicy", "learning_rate": 0.001})


def test_an_older_version_of_the_environment_stands_in() -> None:
    source, params = zoo_params("ppo", "Hopper-v5")
    assert source == "zoo:Hopper-v4"
    assert params["policy_kwargs"]["activation_fn"] is nn.ReLU
    assert params["policy_kwargs"]["net_arch"] == {"pi": [256, 256], "vf": [256, 256]}


def test_without_an_entry_the_defaults_are_taken() -> None:
    assert zoo_params("sac", "identity-box") == ("defaults", {})
    with pytest.raises(ValueError, match="env_wrapper, frame_stack"):
        zoo_params("ppo", "CarRacing-v3")


def test_the_changes_of_gac() -> None:
    assert Job("gac", "Pendulum-v1", 1).resolve() == online.Settings({"policy": "MlpLatentPolicy"}, 1, None, "defaults")
    assert Job("gac", "Pendulum-v1", 1, rewards="terminal").resolve().params["return_only"] is True
    job = Job("gac", "Pendulum-v1", 1, control="no-weights", overrides=parse_overrides(["policy_kwargs.plan_dim=8", "a=1e-3"]))
    params = {"policy": "MlpLatentPolicy", "advantage_temperature": None, "policy_kwargs": {"plan_dim": 8}, "a": 0.001}
    assert job.resolve().params == params


def test_an_evaluation_leaves_the_training_alone() -> None:
    job = Job("ars", "Pendulum-v1", 1)
    settings = job.resolve()
    assert settings.normalize == {"norm_obs": True, "norm_reward": False}
    model = make_model(job, settings)
    assert isinstance(model.env, VecNormalize)
    count, state = model.env.obs_rms.count, th.get_rng_state()
    numpy_state = np.random.get_state()[1]
    np.testing.assert_array_equal(evaluate_job(model, job, 2), evaluate_job(model, job, 2))
    assert model.env.obs_rms.count == count
    assert th.equal(th.get_rng_state(), state) and np.array_equal(np.random.get_state()[1], numpy_state)


def test_a_job_that_has_a_row_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, curves = tmp_path / "new" / "out.csv", tmp_path / "curves.csv"
    command = "--algo ars --env identity-discrete --steps 100 --seed 3 --terminal-reward --eval-freq 800".split()
    command += ["--out", str(out), "--curves", str(curves)]
    main(command)
    main(command)
    (row,) = read_rows(out)
    assert tuple(row) == COLUMNS
    assert row["rewards"] == "terminal" and row["settings"] == "defaults" and row["n_eval_episodes"] == "20"
    assert int(row["n_env_steps"]) == 1600 and float(row["train_cpu_s"]) > 0  # 8 directions, two episodes each
    assert "--terminal-reward" in row["command"] and "--seed 3" in row["command"]
    assert [row["step"] for row in read_rows(curves)] == ["800", "1600"]
    assert "1 of 1 jobs have a row" in capsys.readouterr().out


def test_the_rows_that_are_there_are_those_of_their_jobs() -> None:
    rows = read_rows(OUT)
    assert rows and tuple(rows[0]) == COLUMNS
    for row in rows:
        n_envs = None if row["algo"] == "ars" else int(row["n_envs"])
        job = Job(row["algo"], row["env"], int(row["steps"]), int(row["seed"]), n_envs, row["rewards"])
        job = replace(job, control=row["control"], overrides=json.loads(row["overrides"]))
        assert job.key().items() <= row.items()


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    append_row(path, {"a": 1})
    with pytest.raises(ValueError, match="other columns: a"):
        append_row(path, {"b": 1})
    with pytest.raises(SystemExit):
        main(["--algo", "ars", "--env", "Pendulum-v1", "--steps", "1", "--out", str(path)])


@pytest.mark.parametrize("name", online.IDENTITY_ENVS)
def test_the_identity_environments_are_seeded(name: str) -> None:
    def observe() -> Any:
        env = online.make_env(Job("gac", name, 1), 2, 5, is_training=True)
        assert isinstance(env.action_space, gym.spaces.Space)
        return env.reset()

    np.testing.assert_array_equal(observe(), observe())
