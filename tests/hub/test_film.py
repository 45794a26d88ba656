"""The film of an episode, and why there is none."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_gac.evaluation import play
from sb3_gac.hub.film import Film


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


def film(model, env, file, n_episodes=1, max_steps=1000) -> None:
    film = Film(file, max_steps)
    play(model, env, n_episodes, on_step=film.record)
    film.close()


@pytest.mark.parametrize("n_episodes", [1, 3])
@pytest.mark.parametrize("way", ["registered", "monitored", "vectorised"])
def test_a_film(model, registered, tmp_path, way, n_episodes):
    env = {
        "registered": gym.make(registered, render_mode="rgb_array"),
        "monitored": Monitor(gym.make(registered, render_mode="rgb_array")),
        "vectorised": DummyVecEnv([lambda: ClockEnv("rgb_array")] * 2),
    }[way]
    film(model, env, tmp_path / "replay.mp4", n_episodes)
    # The start and what each step leads to; the last frame of the episode is lost in the reset of a VecEnv
    np.testing.assert_allclose(brightness(tmp_path / "replay.mp4"), 20 * np.arange(10), atol=4)


def test_a_film_is_not_endless(model, tmp_path):
    film(model, ClockEnv("rgb_array"), tmp_path / "replay.mp4", max_steps=3)
    assert len(brightness(tmp_path / "replay.mp4")) == 4


def test_no_film(model, tmp_path, monkeypatch):
    file = tmp_path / "replay.mp4"
    film(model, ClockEnv("rgb_array"), file, max_steps=0)
    with pytest.warns(UserWarning, match="no film of an episode: ValueError: the environment renders no images"):
        film(model, ClockEnv(), file)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no_ffmpeg"))
    with pytest.warns(UserWarning, match="no_ffmpeg"):
        film(model, ClockEnv("rgb_array"), file)
    assert not file.exists()


def test_a_film_that_breaks_off(small_gac, tmp_path):
    class Breaking(ClockEnv):
        def render(self):
            if self.n_steps == 3:
                raise OSError("out of film")
            return super().render()

    model = small_gac(Breaking("rgb_array")).learn(25)
    with pytest.warns(UserWarning, match="OSError: out of film"):
        film(model, model.get_env(), tmp_path / "replay.mp4")
    assert not (tmp_path / "replay.mp4").exists()
    model.learn(10, reset_num_timesteps=False)
    # What was under way is no episode, and the next one begins where the environment does
    assert model.replay_buffer.returns.tolist() == [55.0, 55.0, 55.0]
