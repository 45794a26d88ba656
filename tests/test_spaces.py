"""Every space of observations and of actions that the policies know, and clear words for the others."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage

IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
FLOAT64 = spaces.Box(-5.0, 5.0, (2,), np.float64)

OBSERVATION_SPACES = {
    "float32": VECTOR,
    "float64": FLOAT64,
    "unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "matrix": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
    "integers": spaces.Box(-3, 9, (4,), np.int64),
    "bytes": spaces.Box(0, 255, (4,), np.uint8),
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "MultiBinary matrix": spaces.MultiBinary([2, 2]),
    "image": IMAGE,
    "Dict": spaces.Dict({"image": IMAGE, "float64": FLOAT64, "mode": spaces.Discrete(3), "flags": spaces.MultiBinary(2)}),
}
ACTION_SPACES = {
    "float32": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "float64": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "bounds that differ": spaces.Box(np.float32([-3.0, 1.0]), np.float32([-1.0, 10.0])),
    "matrix": spaces.Box(-1.0, 1.0, (2, 2), np.float32),
    "Discrete": spaces.Discrete(3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(3),
}
LIGHT_IMAGES = dict(features_extractor_kwargs=dict(features_dim=8))


def policy_for(space: spaces.Space) -> dict:
    if isinstance(space, spaces.Dict):
        light_images = dict(features_extractor_kwargs=dict(cnn_output_dim=8))
        return dict(policy="MultiInputLatentPolicy", policy_kwargs=light_images, buffer_size=100)
    if space is IMAGE:
        return dict(policy="CnnLatentPolicy", policy_kwargs=LIGHT_IMAGES, buffer_size=100)
    return dict(policy="MlpLatentPolicy")


def items(observation) -> list[tuple[str, np.ndarray]]:
    return list(observation.items()) if isinstance(observation, dict) else [("", observation)]


@pytest.mark.parametrize("name", OBSERVATION_SPACES)
def test_observation_space(small_gac, diary_env, name):
    space = OBSERVATION_SPACES[name]
    env = diary_env(space, length=4)
    model = small_gac(env, **policy_for(space)).learn(10)
    assert model.replay_buffer.returns.tolist() == [10.0, 10.0]

    # What is stored is what was seen, in its own dtype
    stored = dict(items(model.replay_buffer.observations))
    for key, part in items(space.spaces if isinstance(space, spaces.Dict) else space):
        seen = np.stack([np.asarray(dict(items(observation))[key]) for observation in env.observations[:4]])
        if len(part.shape) == 3:
            seen = np.moveaxis(seen, -1, 1)  # the model sees the channels first
        assert stored[key].dtype == part.dtype
        np.testing.assert_array_equal(stored[key][:4, 0].reshape(seen.shape), seen)

    # One observation, or several, channels last or first
    assert model.predict(space.sample())[0].shape == (2,)
    assert model.predict(model.get_env().reset())[0].shape == (1, 2)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("name", ACTION_SPACES)
def test_action_space(small_gac, diary_env, name, deterministic):
    space = ACTION_SPACES[name]
    env = DummyVecEnv([lambda: diary_env(VECTOR, space, length=4) for _ in range(2)])  # asserts that actions are in the space
    model = small_gac(env).learn(24)
    observations = env.reset()
    actions, _ = model.predict(observations, deterministic=deterministic)
    assert actions.dtype == space.dtype
    assert actions.shape == (2, *space.shape)
    assert all(space.contains(action) for action in actions)
    action, _ = model.predict(observations[0], deterministic=deterministic)
    assert space.contains(action if space.shape else action.item())

    buffer_actions = model.replay_buffer.actions[:12]
    done = np.stack([[np.ravel(action) for action in diary.unwrapped.actions] for diary in env.envs], axis=1)
    if isinstance(space, spaces.Box):
        low, high = space.low.ravel(), space.high.ravel()
        np.testing.assert_allclose(low + 0.5 * (buffer_actions + 1) * (high - low), done, atol=1e-5)
    else:
        np.testing.assert_array_equal(buffer_actions, done)


@pytest.mark.parametrize("action", ["float64", "Discrete", "MultiDiscrete", "MultiBinary"])
@pytest.mark.parametrize("observation", ["MultiDiscrete", "image", "Dict"])
def test_a_data_set_brings_its_spaces(small_gac, diary_env, make_dataset, observation, action):
    space = OBSERVATION_SPACES[observation]
    data = make_dataset(space, ACTION_SPACES[action])
    model = small_gac(**policy_for(space)).learn_offline(data, 2)
    assert model.predict(space.sample())[0].dtype == ACTION_SPACES[action].dtype
    # They are those of an env, whose images are transposed as SB3 does
    model.set_env(diary_env(space, ACTION_SPACES[action]))
    assert model.learn(10).replay_buffer.n_trajectories == 2


def test_an_encoder_sees_categories_not_numbers(small_gac, diary_env):
    model = small_gac(diary_env(VECTOR, ACTION_SPACES["MultiDiscrete"]))
    assert model.policy.model.decoder.head.encoded_dim == 3 + 2


def test_frames_are_stacked(small_gac, diary_env):
    env = VecFrameStack(DummyVecEnv([lambda: diary_env(IMAGE, length=4)]), n_stack=3)
    model = small_gac(env, policy="CnnLatentPolicy", policy_kwargs=LIGHT_IMAGES, buffer_size=50).learn(10)
    assert isinstance(model.get_env(), VecTransposeImage)
    frames = model.replay_buffer.observations[:4, 0]  # (n_steps, n_stack, height, width)
    assert frames.shape == (4, 3, 36, 36)
    np.testing.assert_array_equal(frames[1:, 1], frames[:-1, 2])
    assert (frames[0, :2] == 0).all()


@pytest.mark.parametrize(("space", "n_steps"), [(VECTOR, 8), (IMAGE, 2), (OBSERVATION_SPACES["Dict"], 2)])
def test_fewer_steps_of_images(small_gac, diary_env, space, n_steps):
    assert small_gac(diary_env(space), **policy_for(space)).n_sampled_steps == n_steps


def test_images_that_are_normalized_already(small_gac, diary_env):
    space = spaces.Box(0.0, 1.0, (1, 36, 36), np.float32)
    model = small_gac(
        diary_env(space), policy="CnnLatentPolicy", buffer_size=50, policy_kwargs=dict(normalize_images=False, **LIGHT_IMAGES)
    )
    assert model.learn(8).predict(space.sample())[0].shape == (2,)


@pytest.mark.parametrize(
    ("policy", "space", "hint"),
    [
        ("MlpLatentPolicy", OBSERVATION_SPACES["Dict"], "MultiInputLatentPolicy"),
        ("CnnLatentPolicy", OBSERVATION_SPACES["Dict"], "MultiInputLatentPolicy"),
        ("MlpPolicy", OBSERVATION_SPACES["Dict"], "MultiInputPolicy"),
        ("MultiInputLatentPolicy", VECTOR, "MlpLatentPolicy"),
        ("MultiInputLatentPolicy", IMAGE, "CnnLatentPolicy"),
        ("MultiInputPolicy", VECTOR, "MlpLatentPolicy"),
    ],
)
def test_a_policy_for_other_observations(small_gac, diary_env, policy, space, hint):
    with pytest.raises(ValueError, match=f"`{hint}`"):
        small_gac(diary_env(space), policy=policy)


def test_vectors_are_no_images(small_gac, diary_env):
    with pytest.raises(AssertionError, match="only with images"):
        small_gac(diary_env(VECTOR), policy="CnnLatentPolicy")


def test_the_hint_comes_with_a_data_set_too(small_gac, make_dataset):
    with pytest.raises(ValueError, match="`MultiInputLatentPolicy`"):
        small_gac().learn_offline(make_dataset(spaces.Dict({"a": VECTOR})), 1)


def test_a_policy_that_does_not_exist(small_gac, diary_env):
    known = "MlpLatentPolicy, CnnLatentPolicy, MultiInputLatentPolicy, MlpPolicy, CnnPolicy, MultiInputPolicy"
    with pytest.raises(ValueError, match=f"MlpLstmPolicy unknown, there are {known}"):
        small_gac(diary_env(), policy="MlpLstmPolicy")


@pytest.mark.parametrize(
    ("observation_space", "action_space", "error", "message"),
    [
        (VECTOR, spaces.Box(-np.inf, np.inf, (2,), np.float32), AssertionError, "finite"),
        (VECTOR, spaces.Box(np.zeros(2), np.array([1.0, 0.0]), dtype=np.float64), ValueError, "lower below the upper"),
        (VECTOR, spaces.MultiBinary([2, 2]), AssertionError, "Multi-dimensional"),
        (VECTOR, spaces.Dict({"a": VECTOR}), AssertionError, "only supports"),
        (spaces.Tuple((VECTOR, VECTOR)), ACTION_SPACES["float32"], (NotImplementedError, ValueError), "not supported"),
        (spaces.Dict({"a": spaces.Dict({"b": VECTOR})}), ACTION_SPACES["float32"], NotImplementedError, "Nested"),
    ],
)
def test_spaces_that_cannot_be_learnt_from(small_gac, diary_env, observation_space, action_space, error, message):
    policy = "MultiInputLatentPolicy" if isinstance(observation_space, spaces.Dict) else "MlpLatentPolicy"
    with pytest.raises(error, match=message):
        small_gac(diary_env(observation_space, action_space), policy=policy)


def test_data_of_other_spaces(small_gac, diary_env, make_dataset):
    with pytest.raises(ValueError, match="random steps: trajectory 0: observations"):
        small_gac(diary_env()).learn_offline(make_dataset(FLOAT64), 1)
    with pytest.raises(ValueError, match="random steps: trajectory 0: actions"):
        small_gac(diary_env()).learn_offline(make_dataset(VECTOR, spaces.Discrete(2)), 1)


def test_an_env_of_other_spaces(small_gac, diary_env):
    model = small_gac(diary_env())
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env(diary_env(FLOAT64))
    with pytest.raises(ValueError, match="Action spaces do not match"):
        model.set_env(gym.wrappers.RescaleAction(diary_env(), np.float32(-0.5), np.float32(0.5)))
