"""The film of an episode, and why there is none; learning curves from where SB3 leaves them."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac.hub.curve import LabelledCurve, draw_curve, read_curve
from sb3_gac.hub.replay import evaluate, find_spec, record_replay


class ClockEnv(gym.Env):
    """An episode of ten steps, each brighter than the one before; the reward is the number of the step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012  # as Gymnasium has it

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Box(-1, 1, (3,))
        self.action_space = spaces.Box(-1, 1, (2,))
        self.render_mode = render_mode
        self.n_steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return np.zeros(3, dtype=np.float32), {}

    def step(self, action):
        self.n_steps += 1
        return np.zeros(3, dtype=np.float32), float(self.n_steps), self.n_steps == 10, False, {}

    def render(self):
        return np.full((33, 48, 3), 20 * self.n_steps, dtype=np.uint8) if self.render_mode else None


@pytest.fixture
def registered():
    gym.register("Clock-v0", ClockEnv)
    yield "Clock-v0"
    del gym.registry["Clock-v0"]


@pytest.fixture
def model(small_gac):
    return small_gac(ClockEnv()).learn(30)


def brightness(file) -> list[float]:
    """Of the frames of a film, read by ffmpeg; only pixels that browsers play."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    reader = imageio_ffmpeg.read_frames(str(file))
    about = next(reader)
    assert (about["size"], about["fps"], about["codec"]) == ((48, 34), 5, "h264")
    assert about["pix_fmt"].startswith("yuv420p")
    return [float(np.frombuffer(frame, np.uint8).mean()) for frame in reader]


@pytest.mark.parametrize("way", ["id", "registered", "monitored", "instance", "vectorised"])
def test_a_film(model, registered, tmp_path, way):
    env = {
        "id": registered,
        "registered": gym.make(registered),
        "monitored": Monitor(gym.make(registered)),
        "instance": ClockEnv("rgb_array"),
        "vectorised": DummyVecEnv([lambda: ClockEnv("rgb_array")] * 2),
    }[way]
    assert record_replay(model, env, None, tmp_path / "replay.mp4", 0, True) is None
    # The start and what each step leads to; the last frame of the episode is lost in the reset of a VecEnv
    np.testing.assert_allclose(brightness(tmp_path / "replay.mp4"), 20 * np.arange(10), atol=4)


def test_a_film_is_not_endless(model, registered, tmp_path):
    assert record_replay(model, registered, None, tmp_path / "replay.mp4", 0, True, max_steps=3) is None
    assert len(brightness(tmp_path / "replay.mp4")) == 4


def test_no_film(model, registered, tmp_path, monkeypatch, diary_env):
    file = tmp_path / "replay.mp4"
    assert record_replay(model, ClockEnv(), None, file, 0, True) == "the environment renders no images"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no_ffmpeg"))
    assert "no_ffmpeg" in record_replay(model, registered, None, file, 0, True)
    assert not file.exists()


def test_a_film_that_breaks_off(small_gac, tmp_path):
    class Breaking(ClockEnv):
        def render(self):
            if self.n_steps == 3:
                raise OSError("out of film")
            return super().render()

    model = small_gac(Breaking("rgb_array")).learn(25)
    assert "out of film" in record_replay(model, model.get_env(), None, tmp_path / "replay.mp4", 0, True)
    model.learn(10, reset_num_timesteps=False)
    # What was under way is no episode, and the next one begins where the environment does
    assert model.replay_buffer.returns.tolist() == [55.0, 55.0, 55.0]


@pytest.mark.parametrize("vectorised", [True, False])
def test_returns(model, vectorised):
    env = DummyVecEnv([ClockEnv] * 2) if vectorised else ClockEnv()
    evaluation = evaluate(model, env, None, 3, seed=0, deterministic=True, reference_returns=(0.0, 110.0))
    assert evaluation.returns.tolist() == [55.0] * 3 and evaluation.lengths.tolist() == [10] * 3
    assert (evaluation.mean, evaluation.std, evaluation.normalized_score) == (55.0, 0.0, 50.0)
    # The episode under way is over for the model, too
    assert model.learn(10, reset_num_timesteps=False).num_timesteps == 40


def test_names(registered):
    assert find_spec(registered).id == find_spec(Monitor(gym.make(registered))).id == registered
    assert find_spec(DummyVecEnv([lambda: gym.make(registered)])).id == registered
    assert find_spec(ClockEnv()) is None


class TestCurve:
    def test_of_an_eval_callback(self, model, tmp_path):
        callback = EvalCallback(Monitor(ClockEnv()), log_path=str(tmp_path), eval_freq=10, n_eval_episodes=2, verbose=0)
        model.learn(30, callback=callback)
        for source in (tmp_path, tmp_path / "evaluations.npz"):
            curve = read_curve(source, model)
            assert curve.timesteps.tolist() == [10, 20, 30]
            assert curve.returns.tolist() == [[55.0, 55.0]] * 3

    def test_of_monitors(self, model, tmp_path):
        for name in ("0", "1"):
            env = Monitor(ClockEnv(), str(tmp_path / name))
            for _ in range(2):
                env.reset()
                for _ in range(10):
                    env.step(None)
            env.close()
        curve = read_curve(tmp_path, model)
        assert curve.timesteps.tolist() == [10, 20, 30, 40]
        assert curve.returns.tolist() == [[55.0]] * 4

    def test_of_monitors_that_started_one_after_the_other(self, model, tmp_path):
        for name, start, returns in (("0", 1000.0, (1, 2)), ("1", 2000.0, (11, 12))):
            rows = [f"{value},10,{i + 1}.5" for i, value in enumerate(returns)]
            header = f'#{{"t_start": {start}, "env_id": "Clock-v0"}}'
            (tmp_path / f"{name}.monitor.csv").write_text("\n".join([header, "r,l,t", *rows, ""]))
        assert read_curve(tmp_path, model).returns.tolist() == [[1.0], [2.0], [11.0], [12.0]]

    def test_of_what_the_model_knows(self, model, small_gac):
        curve = read_curve(None, model)
        assert curve.timesteps.tolist() == [10, 20, 30]
        assert curve.label == "the last 3 episodes of training"
        assert read_curve(None, small_gac(ClockEnv())) is None

    def test_a_picture(self, tmp_path):
        steps = np.arange(1, 101) * 200
        curve = LabelledCurve(steps, -1000 / (1 + steps[:, None] / 2000), "episodes of training")
        assert draw_curve(curve, "GAC on Clock-v0", tmp_path / "curve.png") is None
        assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    def test_no_picture(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        curve = LabelledCurve(np.arange(3), np.zeros((3, 1)), "episodes of training")
        assert draw_curve(curve, "GAC", tmp_path / "curve.png") == 'matplotlib missing: pip install ".[hub]"'
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "content", [b"", b"no archive", b'#{"t_start": 0}\nr,l\n1,2\n', b'#{"t_start": 0}\nr,l,t\n', b"#{}\nr,l,t\n1,2,3\n"]
    )
    @pytest.mark.parametrize("name", ["evaluations.npz", "0.monitor.csv"])
    def test_other_files(self, model, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="learning_curve"):
            read_curve(tmp_path, model)

    def test_pickles_are_not_read(self, model, tmp_path):
        np.savez(tmp_path / "evaluations.npz", timesteps=np.array([1]), results=np.array([{}], dtype=object))
        with pytest.raises(ValueError, match="learning_curve"):
            read_curve(tmp_path, model)
