"""What an environment or a policy gives that is not finite, or too large, is refused before anything has learnt from it."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC, gac
from sb3_gac.data import Trajectory

BAD_AT = 33  # the third step of an episode


class FaultyEnv(gym.Env):
    """Episodes of five steps; one of its values is bad, at one step of all."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, faults=None, is_dict=False, dtype=np.float32) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), dtype)
        self.is_dict, self.dtype = is_dict, dtype
        self.observation_space = spaces.Dict({"place": box, "page": spaces.Discrete(6)}) if is_dict else box
        self.faults = {} if faults is None else faults
        self.n_all = 0

    def observe(self, faults=None):
        bad = (faults or {}).get("observation", self.n_steps)
        with np.errstate(over="ignore"):
            place = np.array([1.0, bad]).astype(self.dtype)
        return {"place": place, "page": self.n_steps} if self.is_dict else place

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        observation = self.observe()
        if (bad := self.faults.pop("reset", None)) is not None:
            (observation["place"] if self.is_dict else observation)[1] = bad
        return observation, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.n_steps, self.n_all = self.n_steps + 1, self.n_all + 1
        faults = self.faults if self.n_all == BAD_AT else {}
        return self.observe(faults), faults.get("reward", float(self.n_steps)), self.n_steps == 5, False, {}


def acts(model: GAC) -> bool:
    observation = model.observation_space.sample()
    actions = [model.predict(observation, deterministic=deterministic)[0] for deterministic in (False, True)]
    return all(map(model.action_space.contains, actions))


def statistics(normalizer: VecNormalize | None) -> list:
    if normalizer is None:
        return []
    parts = normalizer.obs_rms if isinstance(normalizer.obs_rms, dict) else {"": normalizer.obs_rms}
    return [vars(part.copy()) for part in [*parts.values(), normalizer.ret_rms]]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("is_dict", [False, True])
@pytest.mark.parametrize(
    "what, value", [(what, v) for what in ("reward", "observation") for v in (np.nan, -np.inf, 1e39, 1e20)]
)
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_step(small_gac, what, value, is_dict, normalized):
    env = DummyVecEnv([lambda: FaultyEnv(is_dict=is_dict), lambda: FaultyEnv({what: value}, is_dict)])
    if normalized:
        env = VecNormalize(env, norm_obs_keys=["place"] if is_dict else None)
    model = small_gac(env, "MultiInputPolicy" if is_dict else "MlpPolicy").learn(2 * (BAD_AT - 1))
    n_rows, before = model.replay_buffer.n_rows, statistics(model.get_vec_normalize_env())
    name = "observation\\['place'\\]" if is_dict and what == "observation" else what
    with pytest.raises(ValueError, match=rf"^the {name} of environment 1 at step 3 of its episode is (not finite|larger)"):
        model.learn(20, reset_num_timesteps=False)
    assert model.replay_buffer.n_rows == n_rows
    np.testing.assert_equal(statistics(model.get_vec_normalize_env()), before)
    assert acts(model)
    n_updates = model._n_updates
    model.learn(40, reset_num_timesteps=False)
    assert model._n_updates > n_updates and acts(model)
    assert set(model.replay_buffer.returns) == {15.0}


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.filterwarnings("error:the training environments")
def test_a_reset(small_gac, is_first, normalized):
    envs = [FaultyEnv(), FaultyEnv()]
    env = DummyVecEnv([lambda env=env: env for env in envs])
    model = small_gac(VecNormalize(env) if normalized else env)
    if not is_first:
        model.learn(12)
    before = statistics(model.get_vec_normalize_env())
    for reset_num_timesteps in (True, False):
        envs[1].faults["reset"] = np.nan
        with pytest.raises(ValueError, match="the observation of environment 1 at step 0 of its episode is not finite"):
            model.learn(20, reset_num_timesteps=reset_num_timesteps)
        np.testing.assert_equal(statistics(model.get_vec_normalize_env()), before)
    model.learn(20, reset_num_timesteps=False)
    assert acts(model) and set(model.replay_buffer.returns) == {15.0}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action(small_gac, monkeypatch, value):
    monkeypatch.setattr(gac, "N_RANDOM_EPISODES", 1e-9)
    model = small_gac(DummyVecEnv([FaultyEnv, FaultyEnv]), learning_starts=0, explore_ratio=1.0).learn(20)
    predict = model.policy.predict

    def predict_badly(*args, **kwargs):
        actions, state = predict(*args, **kwargs)
        actions[1] = value
        return actions, state

    monkeypatch.setattr(model.policy, "predict", predict_badly)
    with pytest.raises(ValueError, match="the action of environment 1 at step 1 of its episode is not finite"):
        model.learn(20, reset_num_timesteps=False)
    monkeypatch.undo()
    model.learn(20, reset_num_timesteps=False)
    assert acts(model) and set(model.replay_buffer.returns) == {15.0}


def test_wide_observations(small_gac):
    model = small_gac(FaultyEnv({"observation": 1e39}, dtype=np.float64))
    with pytest.raises(ValueError, match=r"the observation of environment 0 at step 3 of its episode is larger than 1e\+18"):
        model.learn(40)
    model.learn(40, reset_num_timesteps=False)
    assert acts(model)


def test_large_numbers_that_are_not_too_large(small_gac):
    class ScaledEnv(FaultyEnv):
        def observe(self, faults=None):
            return np.float32(1e18) * self.np_random.uniform(-1, 1, 2).astype(np.float32)

        def step(self, action):
            observation, _, *ending = super().step(action)
            return observation, 1e18 * self.np_random.uniform(-1, 1), *ending

    model = small_gac(ScaledEnv())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(60)
    assert acts(model)
    assert model.policy.model.return_predictor.return_std == pytest.approx(1e18, rel=0.9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_actions_as_large_as_can_be(small_gac, dtype, n_envs):
    limits = np.finfo(np.float32)

    class WideEnv(FaultyEnv):
        action_space = spaces.Box(limits.min, limits.max, (2,), dtype)

    model = small_gac(DummyVecEnv([WideEnv] * n_envs))
    model.learn(60)
    assert acts(model)


def test_trajectories():
    arrays = dict(observations=np.zeros((3, 1)), actions=np.full((3, 1), 3e38), rewards=np.zeros(3))
    Trajectory(**arrays, terminated=True, truncated=False)
    for name in ("observations", "rewards"):
        bad = arrays[name].copy()
        bad[1] = -1e39
        with pytest.raises(ValueError, match=rf"{name} at step 1 are larger than 1e\+18"):
            Trajectory(**arrays | {name: bad}, terminated=True, truncated=False)
