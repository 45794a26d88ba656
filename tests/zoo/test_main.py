"""The commands of the zoo as a user gives them."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("rl_zoo3")
pytest.importorskip("seaborn")
pytest.importorskip("h5py")
pytest.importorskip("yaml")

import h5py
import yaml

from sb3_gac import GAC
from sb3_gac.zoo.__main__ import main

ENV = "ZooCorridor-v0"
HORIZON = 10
N_OFFLINE = 4
PARAMS: dict[str, Any] = {
    "policy": "MlpLatentPolicy",
    "policy_kwargs": {"net_arch": [8], "n_candidates": 4},
    "batch_size": 4,
    "learning_starts": 10,
    "n_envs": 2,
    "n_timesteps": 60,
    "train_freq": 10,
    "gradient_steps": 1,
}


class Corridor(gym.Env[Any, Any]):
    """Go right: the reward is the position."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(-20, 20, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.position = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.position += float(action[0])
        return np.array([self.position], np.float32), self.position, False, False, {}

    def render(self) -> Any:
        return np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if ENV not in gym.registry:
        gym.register(ENV, Corridor, max_episode_steps=HORIZON)


@pytest.fixture
def conf_file(tmp_path: Path) -> str:
    """Hyper-parameters with an offline phase, and its data: random actions."""
    rng = np.random.default_rng(0)
    n_steps = 8 * HORIZON
    actions = rng.uniform(-1, 1, size=(n_steps, 1)).astype(np.float32)
    after = actions.reshape(8, HORIZON).cumsum(axis=1)
    before = np.hstack([np.zeros((8, 1)), after[:, :-1]])
    ends = np.zeros((8, HORIZON), dtype=bool)
    ends[:, -1] = True
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        file["observations"] = before.reshape(-1, 1).astype(np.float32)
        file["actions"] = actions
        file["rewards"] = after.reshape(-1).astype(np.float32)
        file["terminals"] = np.zeros(n_steps, dtype=bool)
        file["timeouts"] = ends.reshape(-1)
    phase = {"data": str(tmp_path / "data.hdf5"), "gradient_steps": N_OFFLINE}
    path = tmp_path / "corridor.yml"
    path.write_text(yaml.safe_dump({ENV: {**PARAMS, "callback": [{"sb3_gac.zoo.OfflinePhase": phase}]}}))
    return str(path)


def train(conf_file: str, *more: str) -> None:
    main(["train", "--env", ENV, "--conf-file", conf_file, "--seed", "1", "--device", "cpu", *more])


def test_offline_to_online_then_enjoy_then_go_on(
    conf_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(conf_file, "--eval-freq", "20", "--eval-episodes", "1", "--save-freq", "40", "--save-replay-buffer")
    folder = Path("logs", "gac", f"{ENV}_1")
    # The layout is the zoo's
    expected = (f"{ENV}.zip", "best_model.zip", "evaluations.npz", "0.monitor.csv", "1.monitor.csv", "replay_buffer.pkl")
    for name in (*expected, "rl_model_40_steps.zip", f"{ENV}/config.yml", f"{ENV}/args.yml", f"{ENV}/command.txt"):
        assert (folder / name).is_file(), name
    np.testing.assert_array_equal(np.load(folder / "evaluations.npz")["timesteps"], [20, 40, 60])
    model = GAC.load(folder / f"{ENV}.zip", device="cpu")
    assert (model._n_offline_updates, model.num_timesteps) == (N_OFFLINE, 60)
    assert "offline phase: 4 gradient steps" in capsys.readouterr().out

    loaded: list[GAC] = []
    load = GAC.load

    def spy(*arguments: Any, **keywords: Any) -> GAC:
        loaded.append(load(*arguments, **keywords))
        return loaded[-1]

    monkeypatch.setattr(GAC, "load", spy)
    for more in ([], ["--load-best", "--stochastic"], ["--load-last-checkpoint"]):
        main(["enjoy", "--env", ENV, "--no-render", "-n", "20", *more])
    assert capsys.readouterr().out.count("2 Episodes") == 3
    assert len(loaded) == 3
    for model in loaded:
        assert model.replay_buffer is not None and isinstance(model.replay_buffer.observations, np.ndarray)
        assert model.replay_buffer.observations.size == 20_000
        assert set(model.replay_buffer.observations.strides) == {0}  # all rows are one: nothing has been allocated

    train(conf_file, "--eval-freq", "-1", "-i", str(folder / f"{ENV}.zip"), "-n", "20")
    resumed = loaded[-1]
    assert "offline phase" not in capsys.readouterr().out
    assert (resumed._n_offline_updates, resumed.num_timesteps) == (N_OFFLINE, 20)
    assert resumed._n_updates > model._n_updates
    assert resumed.offline_buffer is not None
    assert resumed.replay_buffer is not None and resumed.replay_buffer.n_trajectories == 60 / HORIZON + 20 / HORIZON
    assert Path("logs", "gac", f"{ENV}_2", f"{ENV}.zip").is_file()


def test_normalized_observations(conf_file: str) -> None:
    train(conf_file, "--eval-freq", "20", "--eval-episodes", "1", "-params", "normalize:True", "n_timesteps:20")
    assert Path("logs", "gac", f"{ENV}_1", ENV, "vecnormalize.pkl").is_file()
    main(["enjoy", "--env", ENV, "--no-render", "-n", "10"])


def test_the_settings_of_the_package_are_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--env", ENV, "-n", "20", "--eval-freq", "-1", "--device", "cpu"])
    output = capsys.readouterr().out
    assert "Using 'default' hyperparameters" in output
    assert Path("logs", "gac", f"{ENV}_1", f"{ENV}.zip").is_file()


def test_tune(conf_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--env", ENV, "--conf-file", conf_file, "--n-evaluations", "2", "--eval-episodes", "1", "--device", "cpu"]
    kept = ["--storage", "study.log", "--study-name", "corridor"]
    main(["tune", *arguments, "--n-trials", "2", "--n-startup-trials", "1", "-n", "40", *kept])
    output = capsys.readouterr().out
    assert output.count("offline phase: done") == 2  # each trial has its own
    assert "Best trial:" in output
    assert len(list(Path("logs", "gac").glob("report_*.csv"))) == 1
    # A trial of the study becomes the settings of a run
    train(conf_file, "--eval-freq", "-1", "-n", "20", *kept, "--trial-id", "1")
    config = next(Path("logs", "gac").glob(f"{ENV}_*/{ENV}/config.yml")).read_text()
    assert "effective_horizon" in config


def test_what_cannot_be_learnt_is_pruned(conf_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="No trials are completed yet"):  # what the zoo has no best trial to tell of
        main(
            [
                *("tune", "--env", ENV, "--conf-file", conf_file, "--n-trials", "2", "--device", "cpu", "-n", "20"),
                *("--eval-episodes", "1", "-params", "kl_coef:1e300"),
            ]
        )
    assert capsys.readouterr().out.count("the loss is not finite") == 2


def test_plots(conf_file: str) -> None:
    train(conf_file, "--eval-freq", "20", "--eval-episodes", "2")
    main(["plots", "train", "--env", ENV, "-w", "2", "-o", "curve.png"])
    assert Path("curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    main(["plots", "all", "--env", ENV, "--no-display", "-o", "results"])
    assert Path("results.pkl").is_file()
    with pytest.raises(SystemExit):
        main(["plots", "histogram"])


def test_record_video(conf_file: str) -> None:
    pytest.importorskip("moviepy")
    train(conf_file, "--eval-freq", "-1")
    main(["record-video", "--env", ENV, "-n", "10", "-o", "videos"])
    (video,) = Path("videos").glob("*.mp4")
    assert video.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "invalid choice: 'fly'"),
        (["plots"], "plots is followed by train, all, from-file"),
        (["train", "--algo", "sac", "--offline"], "--offline is for gac, not for sac"),
    ],
)
def test_wrong_commands_are_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
