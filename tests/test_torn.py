"""Every trajectory in the replay buffer is an episode from start to end, whatever has happened while it was collected."""

import copy
import inspect
import pickle
import random
import sys
import warnings
from unittest import mock

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_gac import GAC, checkpoint, save_checkpoint
from sb3_gac.data import buffer_trajectories
from sb3_gac.rollout_env import CallCounter, count_calls

LENGTHS = (3, 8)  # the shortest and the longest episode


class Trouble(Exception):
    """What is raised somewhere."""


class PagedEnv(gym.Env):
    """Observations tell the number of the episode, its length and the step; the reward of a step is its number, from 1."""

    observation_space, action_space = spaces.Box(0, 1e6, (3,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, name: int = 0) -> None:
        self.episode = 1000 * name
        self.lengths = random.Random(name)
        self.trouble: dict[str, float] = {}  # how probable it is in a step and in a reset
        self.moments = random.Random(name)

    def observe(self):
        return np.float32([self.episode, self.length, self.n_steps])

    def raise_trouble(self, where: str) -> None:
        if self.moments.random() < self.trouble.get(where, 0):
            raise Trouble(where)

    def reset(self, *, seed=None, options=None):
        self.raise_trouble("reset")
        self.episode += 1
        self.n_steps, self.length = 0, self.lengths.randint(*LENGTHS)
        return self.observe(), {}

    def step(self, action):
        self.n_steps += 1
        self.raise_trouble("step")
        return self.observe(), float(self.n_steps), self.n_steps == self.length, False, {}


def assert_whole(model: GAC, least: int = 1) -> None:
    """
    All trajectories are episodes.

    :param model: A model that learns in paged environments.
    :param least: How many there are, at least.
    """
    buffer = model.replay_buffer
    assert buffer.n_trajectories >= least
    trajectories = buffer_trajectories(buffer)
    for trajectory, episode_return in zip(trajectories, buffer.returns, strict=True):
        episodes, lengths, steps = trajectory.observations.T
        assert len(set(episodes)) == 1, trajectory.observations
        assert steps.tolist() == list(range(int(lengths[0]))), trajectory.observations
        assert trajectory.rewards.tolist() == (steps + 1).tolist()
        assert episode_return == trajectory.rewards.sum()
    assert len({trajectory.observations[0, 0] for trajectory in trajectories}) == len(trajectories)


class At(BaseCallback):
    """Do something at a step; ``None`` stops learning there."""

    def __init__(self, step, action=None) -> None:
        super().__init__()
        self.step, self.action = step, action

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.step:
            self.step = np.inf
            return self.action is not None and self.action() is not False
        return True


def fail():
    raise Trouble


@pytest.fixture
def paged_gac(small_gac):
    def make(n_envs=1, normalized=False, **kwargs) -> GAC:
        env = DummyVecEnv([lambda name=name: Monitor(PagedEnv(name)) for name in range(n_envs)])
        return small_gac(VecNormalize(env) if normalized else env, **{"gradient_steps": 0, **kwargs})

    return make


@pytest.mark.parametrize("step", range(10, 20))
@pytest.mark.parametrize("action", [fail, None])
def test_a_callback_ends_the_rollout(paged_gac, step, action):
    model = paged_gac()
    try:
        model.learn(1000, At(step, action))
    except Trouble:
        pass
    assert model.num_timesteps == step
    model.learn(40, reset_num_timesteps=False)
    assert_whole(model, 5)


@pytest.mark.parametrize("step", range(10, 20))
@pytest.mark.parametrize("normalized", [False, True])
def test_others_move_the_environment_in_a_callback(paged_gac, step, normalized):
    model = paged_gac(2, normalized)
    with pytest.warns(UserWarning, match="were stepped or reset outside of learn"):
        model.learn(100, At(2 * step, lambda: evaluate_policy(model, model.get_env(), 1) and None))
    assert_whole(model, 10)


@pytest.mark.parametrize(
    "move",
    [
        lambda model, env: evaluate_policy(model, model.get_env(), 1),
        lambda model, env: evaluate_policy(model, env, 1, warn=False),
        lambda model, env: env.reset(),
        lambda model, env: env.unwrapped.step(None),
        lambda model, env: VecNormalize(model.get_env()).reset(),
        lambda model, env: gym.wrappers.RecordEpisodeStatistics(env).reset(),
        lambda model, env: model.get_env().env_method("reset"),
    ],
)
def test_others_move_the_environment_between_calls(small_gac, move):
    env = gym.wrappers.TimeLimit(PagedEnv(), 100)
    model = small_gac(env, learning_starts=10**6).learn(20)
    move(model, env)
    with pytest.warns(UserWarning, match="were stepped or reset outside of learn"):
        model.learn(40, reset_num_timesteps=False)
    assert_whole(model, 5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the training environments")
        model.learn(40, reset_num_timesteps=False)  # nobody has moved it this time
        move(model, env)
        model.learn(40)  # resets it anyway
    assert_whole(model, 10)


def test_an_evaluation_keeps_the_episode_that_has_just_ended(paged_gac):
    for normalized in (False, True):
        model = paged_gac(1, normalized)

        class AtEnd(BaseCallback):
            def _on_step(self, model=model) -> bool:
                if self.locals["dones"][0]:
                    model.get_env().reset()
                return True

        with pytest.warns(UserWarning, match="outside of learn"):
            model.learn(60, AtEnd())
        assert_whole(model, 6)
        assert model.replay_buffer.n_transitions > 50


def test_an_evaluation_callback_in_the_training_environment(paged_gac):
    model = paged_gac(2)
    with pytest.warns(UserWarning, match="outside of learn"):
        model.learn(200, EvalCallback(model.get_env(), eval_freq=17, n_eval_episodes=2, verbose=0))
    assert_whole(model, 10)


def test_environments_in_processes_of_their_own(small_gac):
    env = SubprocVecEnv([PagedEnv, PagedEnv], start_method="fork")
    model = small_gac(env, learning_starts=10**6).learn(41)
    env.reset()
    with pytest.warns(UserWarning, match="outside of learn"):
        model.learn(40, reset_num_timesteps=False)
    env.close()
    for trajectory in buffer_trajectories(model.replay_buffer):
        assert len(set(trajectory.observations[:, 0])) == 1 and len(trajectory) == trajectory.observations[0, 1]


def test_environments_in_other_processes_that_are_reset_by_name(small_gac):
    env = SubprocVecEnv([PagedEnv, PagedEnv], start_method="fork")
    model = small_gac(VecNormalize(env), gradient_steps=0).learn(41)
    model.get_env().env_method("get_wrapper_attr", "episode")  # moves nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(10, reset_num_timesteps=False)
    for reset in (lambda: model.get_env().env_method("reset"), lambda: env.env_method(method_name="reset", indices=[1])):
        reset()
        with pytest.warns(UserWarning, match="outside of learn"):
            model.learn(40, reset_num_timesteps=False)
    env.close()
    for trajectory in buffer_trajectories(model.replay_buffer):
        assert len(set(trajectory.observations[:, 0])) == 1 and len(trajectory) == trajectory.observations[0, 1]


@pytest.mark.parametrize("is_caught", [False, True])
def test_a_checkpoint_that_cannot_be_written(paged_gac, tmp_path, is_caught):
    model = paged_gac(2)

    class Save(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            if self.num_timesteps == 20:
                with pytest.raises(Trouble):
                    save_checkpoint(model, tmp_path)
                if not is_caught:
                    raise Trouble

    with mock.patch.object(checkpoint, "_write", side_effect=Trouble):
        try:
            model.learn(60, Save())
        except Trouble:
            assert not is_caught
    model.learn(60, reset_num_timesteps=False)
    assert_whole(model, 10)


@pytest.mark.parametrize("normalized", [False, True])
def test_a_checkpoint_between_a_step_and_its_storage(paged_gac, tmp_path, normalized):
    for step in range(10, 18):
        model = paged_gac(1, normalized)
        model.learn(60, At(step, lambda model=model: save_checkpoint(model, tmp_path)))
        assert_whole(model, 5)


def test_a_model_saved_amid_a_step(paged_gac, tmp_path):
    model = paged_gac()
    with pytest.raises(Trouble):
        model.learn(100, At(21, fail))
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = GAC.load(tmp_path / "model", model.get_env(), force_reset=False)
    loaded.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=False)
    loaded.learn(60, reset_num_timesteps=False)
    assert_whole(loaded, 5)


def test_the_same_environment_in_another_wrapper(small_gac):
    env = Monitor(PagedEnv())
    model = small_gac(env, gradient_steps=0).learn(20)
    model.set_env(env, force_reset=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(20, reset_num_timesteps=False)
    assert model.replay_buffer.n_transitions > 40 - LENGTHS[1]  # the episode has gone on

    def interrupt():
        with pytest.raises(Trouble):
            model.learn(9, At(0, fail), reset_num_timesteps=False)

    for move in (env.reset, interrupt):
        move()
        model.set_env(env, force_reset=False)
        model.learn(20, reset_num_timesteps=False)
        assert_whole(model)


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.filterwarnings("ignore:the training environments were stepped", "ignore:every call of learn")
def test_whatever_happens(paged_gac, tmp_path, n_envs, normalized):
    """Errors in callbacks, steps, resets and files, and moves of others, ten of each, at random."""
    rng = random.Random(n_envs)
    model = paged_gac(n_envs, normalized)
    envs = [env.unwrapped for env in model.get_env().unwrapped.envs]

    def trouble_in(where):
        for env in envs:
            env.trouble = {where: 0.1}
        try:
            model.learn(1000, reset_num_timesteps=False) if where == "step" else learn_again()
        except Trouble:
            return True
        finally:
            for env in envs:
                env.trouble = {}

    def learn_again():
        for _ in range(100):
            model.learn(20, reset_num_timesteps=rng.random() < 0.5)

    def save():
        with mock.patch.object(checkpoint, "_write", side_effect=Trouble):
            save_checkpoint(model, tmp_path)

    def at(action):
        model.learn(60, At(model.num_timesteps + rng.randint(1, 40), action), reset_num_timesteps=False)

    def reset():
        env = rng.choice([model.get_env(), *envs])
        env.reset()

    def evaluate():
        evaluate_policy(model, model.get_env(), rng.randint(1, 3), warn=False)

    troubles = [lambda: at(fail), lambda: trouble_in("step"), lambda: trouble_in("reset"), lambda: at(save)]
    moves = [reset, evaluate, lambda: at(reset), lambda: at(evaluate)]
    events = 10 * (troubles + moves)
    rng.shuffle(events)
    model.learn(30)
    n_errors = 0
    for event in events:
        try:
            n_errors += bool(event())
        except Trouble:
            n_errors += 1
        model.learn(rng.randint(1, 30), reset_num_timesteps=False)
    assert n_errors == 40
    assert_whole(model, 200)


def interrupt_after(n_lines: int, function) -> bool:
    """
    Whether a function was interrupted, as by Ctrl-C, at a line of what stores and steps.

    :param n_lines: How many lines are run before.
    :param function: The function.
    """
    places = tuple(
        f"sb3_gac/{name}.py" for name in ("gac", "trajectory_algorithm", "rollout_env", "data/buffer", "data/table")
    )
    left = n_lines

    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.endswith(places):
            return None
        left -= event == "line"
        if left < 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with th.enable_grad():  # no_grad() that is interrupted while it ends would hold for all tests to come
            function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("normalized", [False, True])
def test_interrupted_at_any_line(paged_gac, normalized):
    rng = random.Random(0)
    model = paged_gac(2, normalized, buffer_size=600)
    n_interrupts = 0
    for _ in range(40):
        reset = rng.random() < 0.2
        n_interrupts += interrupt_after(rng.randrange(2000), lambda reset=reset: model.learn(60, reset_num_timesteps=reset))
        model.learn(rng.randint(1, 30), reset_num_timesteps=False)
    assert n_interrupts > 30
    model.learn(100, reset_num_timesteps=False)
    assert_whole(model, 20)


def test_calls_shorter_than_an_episode_are_warned_of(paged_gac):
    model = paged_gac()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(20)  # episodes have ended
        model.learn(2)
    with pytest.warns(UserWarning, match=r"every call of learn\(\) resets the environments.* reset_num_timesteps=False"):
        model.learn(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            model.learn(2, reset_num_timesteps=False)
    assert_whole(model, 4)


def test_counted_methods_are_those_of_their_owner():
    env = gym.make("Pendulum-v1").unwrapped
    counter = count_calls(env, "reset")
    assert count_calls(env, "reset") is counter
    assert "seed" in inspect.signature(env.reset).parameters
    env.reset(seed=0)
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(counted_env()))):
        assert isinstance(other.reset, CallCounter) and other.reset.n_calls == 1
        other.reset()
        assert other.reset.method.__self__ is other
        assert (other.reset.n_calls, counter.n_calls) == (2, 1)


def counted_env() -> PagedEnv:
    env = PagedEnv()
    count_calls(env, "reset")
    env.reset()
    return env
