"""Data that do not fit the spaces of an env are refused, and actions change units and back."""

import numpy as np
import pytest
from gymnasium import spaces

from sb3_gac.data import Trajectory, check_spaces
from sb3_gac.data.space import check_supported, infer_spaces, scale_actions, transpose_images, unscale_actions

VECTOR, IMAGE = spaces.Box(-1, 1, (2,)), spaces.Box(0, 255, (36, 40, 3), np.uint8)
BOX_ACTION = spaces.Box(-2, 2, (1,))


def make_trajectory(observations, actions) -> Trajectory:
    return Trajectory(observations, actions, np.zeros(len(actions)), True, False)


def vector(n_steps=4, dtype=np.float32):
    return np.full((n_steps, 2), 5, dtype=dtype)


@pytest.mark.parametrize(
    ("observations", "space"),
    [
        (vector(), VECTOR),  # beyond the bounds, as observations may be
        (vector(dtype=np.float64), VECTOR),
        (vector(dtype=np.int64), VECTOR),
        (np.zeros((4, 36, 40, 3), np.uint8), IMAGE),
        (np.array([0, 1, 2, 4]), spaces.Discrete(5)),
        (np.array([[0], [1], [2], [4]]), spaces.Discrete(5)),
        (np.array([[0, 3]] * 4), spaces.MultiDiscrete([1, 4])),
        (np.array([[True, False]] * 4), spaces.MultiBinary(2)),
        ({"a": vector(), "b": np.zeros(4, int)}, spaces.Dict({"b": spaces.Discrete(2), "a": VECTOR})),
    ],
)
def test_what_fits(observations, space):
    check_spaces([make_trajectory(observations, np.full((4, 1), 2.0))], space, BOX_ACTION)


@pytest.mark.parametrize(
    ("observations", "space", "message"),
    [
        (np.zeros((4, 3)), VECTOR, r"observations of shape \(3,\) and dtype float64 do not fit"),
        (np.zeros((4, 36, 40, 3)), IMAGE, "dtype float64 do not fit"),
        (np.zeros(4), spaces.Discrete(5), "dtype float64 do not fit"),
        (np.array([0, 1, 5, 0]), spaces.Discrete(5), "observations at step 2 are out of bounds: 5"),
        (np.array([4, 1, 5, 0]), spaces.Discrete(5), "step 2 are out of bounds: 5"),
        (np.array([[0, 3], [0, 4], [0, 0], [0, 0]]), spaces.MultiDiscrete([1, 4]), "step 1 are out of bounds"),
        (np.array([[0, 1], [0, 2], [0, 0], [0, 0]]), spaces.MultiBinary(2), "step 1 are out of bounds"),
        ({"a": vector()}, VECTOR, r"it has observations\['a'\], the space needs observations$"),
        (vector(), spaces.Dict({"a": VECTOR}), r"it has observations, the space needs observations\['a'\]$"),
        (
            {"a": vector()},
            spaces.Dict({"a": VECTOR, "b": VECTOR}),
            r"it has observations\['a'\], the space needs observations\['a'\], observations\['b'\]$",
        ),
        ({"a": np.zeros((4, 3))}, spaces.Dict({"a": VECTOR}), r"observations\['a'\] of shape \(3,\)"),
    ],
)
def test_observations_that_do_not_fit(observations, space, message):
    with pytest.raises(ValueError, match=f"source: trajectory 0: .*{message}"):
        check_spaces([make_trajectory(observations, np.zeros((4, 1)))], space, BOX_ACTION, source="source")


@pytest.mark.parametrize(
    ("actions", "space", "message"),
    [
        (np.array([[0], [0], [2.01], [0]]), BOX_ACTION, r"actions at step 2 are out of bounds: \[2.01\]"),
        (np.zeros((4, 2)), BOX_ACTION, r"actions of shape \(2,\)"),
        (np.zeros((4, 1)), spaces.Discrete(2), r"actions of shape \(1,\) and dtype float64"),
        (np.array([0, 1, 0, 2]), spaces.Discrete(2), "actions at step 3 are out of bounds: 2"),
        (np.array([[0, 1]] * 4), spaces.MultiDiscrete([2, 1]), "actions at step 0 are out of bounds"),
    ],
)
def test_actions_that_do_not_fit(actions, space, message):
    good = make_trajectory(vector(), np.zeros((4, *space.shape), space.dtype))
    check_spaces([good], VECTOR, space)
    with pytest.raises(ValueError, match=f"^trajectory 1: {message}"):
        check_spaces([good, make_trajectory(vector(), actions)], VECTOR, space)


def test_rounding_is_not_out_of_bounds():
    actions = np.full((4, 1), np.nextafter(np.float32(2), np.float32(3)))
    check_spaces([make_trajectory(vector(), actions)], VECTOR, BOX_ACTION)
    assert scale_actions(BOX_ACTION, actions).max() == 1.0


def test_no_trajectory():
    with pytest.raises(ValueError, match="file: no trajectory"):
        check_spaces([], VECTOR, BOX_ACTION, source="file")


@pytest.mark.parametrize(
    ("observation_space", "action_space"),
    [
        (spaces.Tuple([VECTOR]), BOX_ACTION),
        (spaces.Dict({"a": spaces.Dict({"b": VECTOR})}), BOX_ACTION),
        (spaces.Text(3), BOX_ACTION),
        (spaces.Dict({}), BOX_ACTION),
        (spaces.Box(0, 1, ()), BOX_ACTION),
        (spaces.Discrete(3, start=1), BOX_ACTION),
        (spaces.MultiDiscrete([[2, 2], [3, 3]]), BOX_ACTION),
        (VECTOR, spaces.Discrete(3, start=-1)),
        (VECTOR, spaces.MultiDiscrete([2, 2], start=[0, 1])),
        (VECTOR, spaces.Box(0, 10, (2,), np.int64)),
        (VECTOR, spaces.Dict({"a": BOX_ACTION})),
        (VECTOR, spaces.Box(-np.inf, np.inf, (1,))),
        (VECTOR, spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32))),
    ],
)
def test_spaces_that_are_not_supported(observation_space, action_space):
    with pytest.raises(ValueError, match=r"is not supported|is empty|must have finite bounds"):
        check_supported(observation_space, action_space)


def test_actions_scaled_and_back():
    space = spaces.Box(np.array([[-1, 0], [5, -3]], np.float32), np.array([[1, 10], [6, 3]], np.float32))
    space.seed(0)
    actions = np.stack([space.sample() for _ in range(50)])
    scaled = scale_actions(space, actions)
    assert scaled.dtype == np.float32 and np.abs(scaled).max() <= 1
    np.testing.assert_allclose(unscale_actions(space, scaled.reshape(50, 4)), actions, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scale_actions(space, np.stack([space.low, space.high])), [-np.ones((2, 2)), np.ones((2, 2))])


LIMITS = [
    (-1.0, 1.0),
    (-0.4, 0.7),
    (-3.0718, -0.0698),
    (0.0, 1e-7),
    (1.0, 1.0 + 1e-6),
    (-1e6, 1e-6),
    (-1e300, 1e300),
    (None, None),
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bounds", LIMITS, ids=str)
def test_no_rounding_leads_out_of_a_box(dtype, bounds):
    limits = np.finfo(dtype)
    low, high = (limits.min, limits.max) if bounds[0] is None else np.clip(bounds, limits.min, limits.max).astype(dtype)
    if not low < high:
        pytest.skip("the bounds are one number of this type")
    space = spaces.Box(low, high, (3,), dtype)
    rng = np.random.default_rng(0)
    buffer_actions = np.concatenate([rng.uniform(-1, 1, (2000, 3)), [[-1, 0, 1]], 1 - 1e-7 * rng.random((100, 3))])
    buffer_actions = buffer_actions.astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        actions = unscale_actions(space, buffer_actions)
        scaled = scale_actions(space, actions)
    assert actions.dtype == dtype and all(space.contains(action) for action in actions)
    assert actions[2000, 0] == low and actions[2000, 2] == high
    assert np.isfinite(scaled).all() and np.abs(scaled).max() <= 1
    if bounds[0] is None:
        np.testing.assert_allclose(scaled, buffer_actions, atol=1e-3 if dtype == np.float16 else 1e-6)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3)])
def test_integer_actions_are_left_alone(space):
    actions = np.stack([space.sample() for _ in range(5)])
    rows = scale_actions(space, actions).reshape(5, -1)
    np.testing.assert_array_equal(unscale_actions(space, rows), actions)


def test_infer():
    observation_space, action_space = infer_spaces(vector(), np.zeros((4, 3)))
    assert observation_space == spaces.Box(-np.inf, np.inf, (2,)) and action_space == spaces.Box(-1, 1, (3,))
    observation_space, action_space = infer_spaces({"a": np.zeros((4, 2, 2, 3), np.uint8)}, np.array([0, 3, 1, 0]))
    assert observation_space == spaces.Dict({"a": spaces.Box(0, 255, (2, 2, 3), np.uint8)})
    assert action_space == spaces.Discrete(4)


@pytest.mark.parametrize("as_dict", [False, True])
def test_images_get_their_channels_first(as_dict):
    images = np.random.default_rng(0).integers(0, 255, (4, 36, 40, 3), dtype=np.uint8)
    space = spaces.Box(0, 255, (3, 36, 40), np.uint8)
    observations, observation_space = ({"a": images}, spaces.Dict({"a": space})) if as_dict else (images, space)
    trajectory = make_trajectory(observations, np.zeros((4, 1)))
    (transposed,) = transpose_images([trajectory], observation_space)
    check_spaces([transposed], observation_space, BOX_ACTION)
    found = transposed.observations["a"] if as_dict else transposed.observations
    np.testing.assert_array_equal(found[2, 1], images[2, :, :, 1])
    (again,) = transpose_images([transposed], observation_space)
    np.testing.assert_array_equal(again.observations["a"] if as_dict else again.observations, found)


@pytest.mark.parametrize(
    "actions", [np.ones((4, 3), int), np.ones((4, 3), bool), np.ones(4, bool)], ids=["ints", "bools", "flags"]
)
def test_whole_numbers_that_may_be_anything_are_refused(actions):
    with pytest.raises(ValueError, match=r"may be MultiDiscrete, .* give the spaces"):
        infer_spaces(vector(), actions)
