"""Spaces survive as JSON: every bound, every dtype, the order of a Dict."""

import json
from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_gac.hub.space import space_from_plain, space_to_plain

SHAPES = hnp.array_shapes(max_dims=3, max_side=4)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from(["float32", "float64", "uint8", "int32"])))
    shape = draw(SHAPES)
    if dtype.kind == "f":
        numbers = st.floats(width=dtype.itemsize * 8, allow_nan=False)
        low, high = (draw(hnp.arrays(dtype, shape, elements=numbers)) for _ in range(2))
        low[low == np.inf], high[high == -np.inf] = 0, 0
    else:
        info = np.iinfo(dtype)
        numbers = st.integers(int(info.min), int(info.max))
        low, high = (draw(hnp.arrays(dtype, shape, elements=numbers)) for _ in range(2))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return spaces.Box(low, high, dtype=dtype.type)


LEAVES = st.one_of(
    boxes(),
    st.builds(
        spaces.Discrete,
        st.integers(1, 10**6),
        start=st.integers(-(10**6), 10**6),
        dtype=st.sampled_from([np.int64, np.int32]),
    ),
    hnp.arrays(np.int64, SHAPES, elements=st.integers(1, 99)).map(lambda nvec: spaces.MultiDiscrete(nvec, start=-nvec)),
    st.one_of(st.integers(1, 9), SHAPES).map(spaces.MultiBinary),
)
SPACES = st.recursive(
    LEAVES,
    lambda parts: st.lists(st.tuples(st.text(max_size=5), parts), max_size=3, unique_by=lambda pair: pair[0]).map(
        lambda pairs: spaces.Dict(OrderedDict(pairs))
    ),
    max_leaves=4,
)


def same(a: spaces.Space, b: spaces.Space) -> bool:
    """Equality of every number: Gymnasium's own takes close bounds for equal ones."""
    if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
        return False
    if isinstance(a, spaces.Dict):
        return list(a.spaces) == list(b.spaces) and all(same(a[key], b[key]) for key in a.spaces)
    if isinstance(a, spaces.Box):
        return a.low.tobytes() == b.low.tobytes() and a.high.tobytes() == b.high.tobytes()
    return a == b and a.__getstate__().keys() == b.__getstate__().keys()


@given(SPACES)
def test_there_and_back(space):
    text = json.dumps(space_to_plain(space, "space"), allow_nan=False)
    assert same(space_from_plain(json.loads(text), "space"), space)


def test_an_image_is_short():
    space = spaces.Box(0, 255, (84, 84, 3), np.uint8)
    plain = space_to_plain(space, "space")
    assert plain["high"] == {"$array": [255], "shape": [84, 84, 3], "dtype": "uint8"}
    assert same(space_from_plain(plain, "space"), space)


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Tuple([spaces.Discrete(2)]), spaces.Dict(a=spaces.Text(3))])
def test_other_spaces_are_named(space):
    with pytest.raises(ValueError, match=r"observation_space(\['a'\])? is the space (Text|Tuple)"):
        space_to_plain(space, "observation_space")


ZERO = {"$array": [0], "shape": [1], "dtype": "float32"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        "Box",
        {"space": "Graph"},
        {"space": ["Box"]},
        {"space": "Discrete"},
        {"space": "Discrete", "n": 0, "start": 0, "dtype": "int64"},
        {"space": "Discrete", "n": 2.5, "start": 0, "dtype": "int64"},
        {"space": "Discrete", "n": 2, "start": 0, "dtype": "object"},
        {"space": "MultiBinary", "shape": "four"},
        {"space": "Box", "low": ZERO, "high": 1},
        {"space": "Box", "low": ZERO, "high": {**ZERO, "shape": [2], "$array": [1, 2, 3]}},
        {"space": "Box", "low": ZERO, "high": {**ZERO, "dtype": "O"}},
        {"space": "Box", "low": ZERO, "high": {**ZERO, "shape": [10**7, 10**7]}},
        {"space": "Dict", "spaces": [["a"]]},
        {"space": "Dict", "spaces": [["a", {"space": "Dict"}]]},
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises(ValueError, match="action_space"):
        space_from_plain(data, "action_space")
