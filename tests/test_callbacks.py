"""Stable-Baselines3's callbacks, in both loops."""

from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC


class Trace(BaseCallback):
    """Notes what it is called for, and stops after some steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.stop_after = stop_after
        self.events: list[str] = []

    def _on_training_start(self) -> None:
        self.events.append("start")

    def _on_rollout_start(self) -> None:
        self.events.append("rollout")

    def _on_step(self) -> bool:
        self.events.append(f"step {self.num_timesteps}")
        return self.stop_after is None or self.n_calls < self.stop_after

    def _on_rollout_end(self) -> None:
        self.events.append("rollout end")

    def _on_training_end(self) -> None:
        self.events.append("end")


@pytest.fixture(params=["online", "offline"])
def learn(request, small_gac, diary_env, make_dataset) -> Callable[..., GAC]:
    """Learn in one of the two loops, for a number of steps of an env or of the optimizer."""

    def run(n_steps: int, callback=None, model: GAC | None = None, **kwargs) -> GAC:
        model = model or small_gac(diary_env())
        if request.param == "online":
            return model.learn(n_steps, callback, **kwargs)
        return model.learn_offline(make_dataset(), n_steps, callback, **kwargs)

    run.is_online = request.param == "online"
    return run


def test_when_it_is_called(learn):
    trace = Trace()
    learn(2, trace)
    online = ["start", "rollout", "step 1", "rollout end", "rollout", "step 2", "rollout end", "end"]
    assert trace.events == (online if learn.is_online else ["start", "step 1", "step 2", "end"])


@pytest.mark.parametrize("n_steps", [1, 3])
def test_it_can_stop_learning(learn, n_steps):
    trace = Trace(stop_after=n_steps)
    model = learn(20, trace)
    assert model.num_timesteps == n_steps
    assert trace.events[-1] == "end"
    # A stop is no end: what follows counts on
    assert learn(2, model=model, reset_num_timesteps=False).num_timesteps == n_steps + 2


def test_a_function_can_stop_learning(learn):
    assert learn(20, lambda locals_, globals_: locals_["self"].num_timesteps < 4).num_timesteps == 4


def test_it_sees_the_locals(learn):
    seen = []

    def note(locals_, globals_) -> bool:
        seen.append((locals_["self"].num_timesteps, locals_["callback"].locals is locals_))
        return True

    learn(3, note)
    assert seen == [(1, True), (2, True), (3, True)]


def test_a_list(learn):
    traces = [Trace(), Trace(stop_after=2)]
    learn(20, traces)
    assert [trace.n_calls for trace in traces] == [2, 2]


def test_every_n_steps(learn):
    trace = Trace()
    learn(10, EveryNTimesteps(n_steps=4, callback=trace))
    assert [event for event in trace.events if event.startswith("step")] == ["step 4", "step 8"]


def test_log_every_n_steps(learn):
    callback = LogEveryNTimesteps(n_steps=4)
    stamps = []
    with mock.patch.object(GAC, "dump_logs", lambda model: stamps.append(model.num_timesteps)):
        learn(10, callback, log_interval=None)
    assert stamps == [4, 8]


def test_checkpoints(learn, tmp_path):
    model = learn(10, CheckpointCallback(save_freq=4, save_path=str(tmp_path), save_replay_buffer=True))
    assert {path.name for path in tmp_path.iterdir()} == {
        name for n in (4, 8) for name in (f"rl_model_{n}_steps.zip", f"rl_model_replay_buffer_{n}_steps.pkl")
    }
    loaded = GAC.load(tmp_path / "rl_model_8_steps", env=model.get_env())
    assert loaded.num_timesteps == 8
    loaded.load_replay_buffer(tmp_path / "rl_model_replay_buffer_8_steps.pkl")
    # A callback sees a step before it is stored
    assert loaded.replay_buffer.size() == (7 if learn.is_online else 0)


def test_checkpoints_with_normalization(small_gac, diary_env, tmp_path):
    env = VecNormalize(DummyVecEnv([diary_env]))
    small_gac(env).learn(10, CheckpointCallback(save_freq=10, save_path=str(tmp_path), save_vecnormalize=True))
    loaded = VecNormalize.load(str(tmp_path / "rl_model_vecnormalize_10_steps.pkl"), DummyVecEnv([diary_env]))
    np.testing.assert_array_equal(loaded.obs_rms.mean, env.obs_rms.mean)


def test_evaluation(learn, diary_env, tmp_path):
    callback = EvalCallback(
        diary_env(length=3),
        n_eval_episodes=2,
        eval_freq=4,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
        warn=False,
    )
    learn(10, callback)
    with np.load(tmp_path / "evaluations.npz") as evaluations:
        assert evaluations["timesteps"].tolist() == [4, 8]
        assert evaluations["results"].tolist() == [[6.0, 6.0]] * 2
    assert GAC.load(tmp_path / "best_model").num_timesteps == 4


def test_evaluation_reaches_a_threshold(learn, diary_env):
    stop = StopTrainingOnRewardThreshold(reward_threshold=5.5, verbose=0)
    callback = EvalCallback(
        diary_env(length=3), callback_on_new_best=stop, eval_freq=4, n_eval_episodes=1, verbose=0, warn=False
    )
    assert learn(20, callback).num_timesteps == 4


def test_evaluation_does_not_improve(learn, diary_env):
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=1, min_evals=1)
    callback = EvalCallback(
        diary_env(length=3), callback_after_eval=stop, eval_freq=2, n_eval_episodes=1, verbose=0, warn=False
    )
    assert learn(20, callback).num_timesteps == 6  # the first is the best, the second and third are no better


def test_max_episodes(small_gac, diary_env):
    assert small_gac(diary_env()).learn(100, StopTrainingOnMaxEpisodes(max_episodes=3)).num_timesteps == 15


def test_max_episodes_ends_nothing_where_no_episode_does(small_gac, make_dataset):
    model = small_gac().learn_offline(make_dataset(), 4, StopTrainingOnMaxEpisodes(max_episodes=1))
    assert model.num_timesteps == 4


def test_episodes_before_and_after_a_stop_are_told_apart(small_gac, diary_env):
    # SB3 does not store the step at which it stops, here the last of the third episode
    model = small_gac(diary_env()).learn(100, StopTrainingOnMaxEpisodes(max_episodes=3))
    model.learn(20, reset_num_timesteps=False)
    assert model.replay_buffer.lengths.tolist() == [5] * 6
    assert model.replay_buffer.returns.tolist() == [15] * 6


def test_progress_bar(learn):
    pytest.importorskip("tqdm")
    pytest.importorskip("rich")
    progress = ProgressBarCallback()
    learn(10, progress)
    assert (progress.pbar.n, progress.pbar.total) == (10, 10)
    learn(3, progress_bar=True)


def test_tensorboard(learn, tmp_path, small_gac, diary_env):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = small_gac(diary_env(), tensorboard_log=str(tmp_path))
    learn(10, model=model, log_interval=1)
    learn(10, model=model, log_interval=1, reset_num_timesteps=False)
    learn(10, model=model, log_interval=1)
    name = "GAC" if learn.is_online else "GAC_offline"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}_1", f"{name}_2"}
    events = accumulator.EventAccumulator(str(tmp_path / f"{name}_1"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")][-1] == 20
