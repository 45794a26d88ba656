"""A trained model shown to the world: loops with and without state, evaluation, video, other copies and devices."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder

from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, Trajectory

BEST = np.array([0.5, -0.25], dtype=np.float32)
N_STEPS = 10


class TargetEnv(gym.Env):
    """The nearer the action is to ``BEST``, the better; every observation says as little as the first."""

    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as gymnasium has it

    def __init__(self) -> None:
        self.render_mode = "rgb_array"
        self.n_steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return self.observe(), {}

    def observe(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        self.n_steps += 1
        return self.observe(), -float(np.square(action - BEST).sum()), False, self.n_steps == N_STEPS, {}

    def render(self) -> np.ndarray:
        return np.full((32, 32, 3), 20 * self.n_steps, dtype=np.uint8)


def one_action_each(n: int = 200) -> OfflineDataset:
    """Trajectories that take one action over and over, and what they return."""
    rng = np.random.default_rng(0)
    trajectories = []
    for _ in range(n):
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        rewards = np.full(N_STEPS, -np.square(action - BEST).sum())
        observations = rng.uniform(-1, 1, (N_STEPS, 3)).astype(np.float32)
        trajectories.append(Trajectory(observations, np.tile(action, (N_STEPS, 1)), rewards, False, True))
    return OfflineDataset(trajectories, TargetEnv.observation_space, TargetEnv.action_space, "one action each")


@pytest.fixture(scope="module")
def model() -> GAC:
    """It has learnt which action is best."""
    return GAC(
        "MlpLatentPolicy",
        TargetEnv(),
        batch_size=32,
        learning_rate=3e-3,
        policy_kwargs=dict(net_arch=[32], n_candidates=64, plan_dim=4),
        seed=0,
        device="cpu",
    ).learn_offline(one_action_each(), 300)


def vec_env(n_envs: int = 2) -> DummyVecEnv:
    return DummyVecEnv([TargetEnv for _ in range(n_envs)])


def test_a_loop_without_state(model):
    """A plan for each observation still does what is best; at random an action is 1.4 away, squared and summed."""
    env = TargetEnv()
    obs, _ = env.reset(seed=0)
    total = 0.0
    for _ in range(N_STEPS):
        action, _ = model.predict(obs, deterministic=True)
        obs, reward, _, _, _ = env.step(action)
        total += reward
    assert total / N_STEPS > -0.2


def test_a_loop_that_carries_the_state(model):
    env = vec_env()
    env.seed(0)
    obs, state, starts = env.reset(), None, np.ones(2, dtype=bool)
    total = np.zeros(2)
    for step in range(2 * N_STEPS):
        actions, state = model.predict(obs, state=state, episode_start=starts, deterministic=True)
        obs, rewards, starts, _ = env.step(actions)
        assert state.ages.tolist() == [step % model.policy.planner.replan_freq + 1] * 2
        total += rewards
    assert (total / (2 * N_STEPS) > -0.2).all()


def test_evaluate_policy(model):
    mean, std = evaluate_policy(model, vec_env(3), n_eval_episodes=6, warn=False)
    assert mean / N_STEPS > -0.2
    assert std / N_STEPS < 0.1
    # Exploring follows the returns of the best tenth of the data: worse than the best, far better than chance
    mean, _ = evaluate_policy(model, vec_env(3), n_eval_episodes=6, deterministic=False, warn=False)
    assert -0.9 < mean / N_STEPS


def test_an_evaluation_leaves_the_rollout_alone():
    callback = EvalCallback(vec_env(1), eval_freq=7, n_eval_episodes=1, verbose=0, warn=False, deterministic=True)
    first, second = (GAC("MlpLatentPolicy", TargetEnv(), **_small()).learn(25, given) for given in (None, callback))
    assert np.isfinite(callback.last_mean_reward)
    np.testing.assert_array_equal(first.replay_buffer.actions[:25], second.replay_buffer.actions[:25])


def test_video_recorder(model, tmp_path):
    pytest.importorskip("moviepy")
    env = VecVideoRecorder(vec_env(), str(tmp_path), record_video_trigger=lambda step: step == 0, video_length=N_STEPS)
    obs, state, starts = env.reset(), None, np.ones(2, dtype=bool)
    for _ in range(N_STEPS + 1):
        actions, state = model.predict(obs, state, starts, deterministic=True)
        obs, _, starts, _ = env.step(actions)
    env.close()
    (video,) = tmp_path.glob("*.mp4")
    assert video.stat().st_size > 0


def test_a_fresh_copy_acts_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    observations = np.random.default_rng(1).uniform(-1, 1, (4, 3)).astype(np.float32)
    actions, _ = model.predict(observations, deterministic=True)
    for seed in (1, 2):
        th.manual_seed(seed)
        np.testing.assert_array_equal(GAC.load(tmp_path / "model").predict(observations, deterministic=True)[0], actions)


@pytest.mark.gpu
@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
def test_another_device_acts_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    observations = np.random.default_rng(1).uniform(-1, 1, (4, 3)).astype(np.float32)
    on_gpu = GAC.load(tmp_path / "model", device="cuda").predict(observations, deterministic=True)[0]
    np.testing.assert_allclose(on_gpu, model.predict(observations, deterministic=True)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_policy(model, tmp_path, in_place):
    """The eager backend takes no compiler, but wraps the policy as any other does."""
    compiled = GAC("MlpLatentPolicy", TargetEnv(), **_small())
    if in_place:
        compiled.policy.compile(backend="eager")
        compiled.policy.compile(backend="eager")
    else:
        compiled.policy = th.compile(compiled.policy, backend="eager")
    compiled.learn(12)
    observations = np.zeros((2, 3), dtype=np.float32)
    actions, _ = compiled.predict(observations, deterministic=True)
    compiled.save(tmp_path / "model")
    loaded = GAC.load(tmp_path / "model", env=TargetEnv())
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], actions)
    loaded.learn(12, reset_num_timesteps=False)
    compiled.policy.save(tmp_path / "policy")
    reloaded = type(loaded.policy).load(tmp_path / "policy")
    np.testing.assert_array_equal(reloaded.predict(observations, deterministic=True)[0], actions)


def _small() -> dict:
    net = dict(net_arch=[16], n_candidates=8)
    return dict(batch_size=4, learning_starts=5, seed=0, device="cpu", policy_kwargs=net)
