"""What plain JSON can hold comes back as it was; what it cannot is named."""

import json
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.utils import LinearSchedule

from sb3_gac import GAC
from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.hub import allow_class
from sb3_gac.hub.plain import from_plain, to_plain
from sb3_gac.policies import LatentPlanPolicy

KEYS = st.text(max_size=5).filter(lambda key: not key.startswith("$"))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda items: st.one_of(
        st.lists(items, max_size=3), st.dictionaries(KEYS, items, max_size=3), st.lists(items, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
DTYPES = st.sampled_from(["bool", "int8", "uint64", "int64", "float16", "float32", "float64"])


class Extractor(NatureCNN):
    """A class of the user's own."""


def there_and_back(value, field="value"):
    arrays = {}
    plain = json.loads(json.dumps(to_plain(value, field, arrays, field)))
    return from_plain(plain, field, arrays, field)


@given(VALUES)
def test_data(value):
    assert repr(there_and_back(value)) == repr(value)


@given(DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))))
def test_arrays(array):
    back = there_and_back(array)
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    assert (np.signbit(back) == np.signbit(array))[array == 0].all() if array.dtype.kind == "f" else True


CLASSES = {
    "activation_fn": th.nn.Tanh,
    "optimizer_class": th.optim.AdamW,
    "features_extractor_class": NatureCNN,
    "replay_buffer_class": TrajectoryReplayBuffer,
    "policy": LatentPlanPolicy,
    "algorithm": GAC,
}


@pytest.mark.parametrize("field", CLASSES)
def test_classes_stand_where_they_belong(field):
    cls = CLASSES[field]
    assert there_and_back({field: [cls]}) == {field: [cls]}
    for other in {*CLASSES, "env", "features_extractor_kwargs"} - {field}:
        with pytest.raises(ValueError, match=rf"kwargs\['{other}'\] is the class .*{cls.__name__}, which is not on the list"):
            to_plain({other: cls}, "kwargs", {})
        with pytest.raises(ValueError, match=rf"kwargs\['{other}'\] is the class .*{cls.__name__}, which is not on the list"):
            from_plain({other: to_plain(cls, "", {}, field)}, "kwargs", {})


def test_schedules():
    schedule = LinearSchedule(1e-3, 1e-5, 0.7)
    back = there_and_back(schedule, "learning_rate")
    assert type(back) is type(schedule)
    assert [back(p) for p in (1, 0.7, 0.3, 0)] == [schedule(p) for p in (1, 0.7, 0.3, 0)]


def test_the_schedule_of_the_zoo_needs_no_zoo():
    zoo = pytest.importorskip("rl_zoo3.utils")
    back = there_and_back(zoo.linear_schedule("0.003"), "learning_rate")
    assert type(back) is LinearSchedule
    assert [back(p) for p in (1, 0.5, 0)] == pytest.approx([0.003, 0.0015, 0])


@pytest.mark.parametrize(
    "noise",
    [
        NormalActionNoise(np.array([0.1, 0.2]), np.array([1.0, 2.0])),
        OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2), theta=0.3, initial_noise=np.full(2, 0.5), dtype=np.float64),
        VectorizedActionNoise(NormalActionNoise(np.zeros(1), np.ones(1)), n_envs=3),
    ],
)
def test_action_noise(noise):
    noise = getattr(noise, "base_noise", noise)
    back = there_and_back(noise, "action_noise")
    np.random.seed(0)
    expected = [noise() for _ in range(3)]
    np.random.seed(0)
    np.testing.assert_array_equal([back() for _ in range(3)], expected)
    assert back().dtype == noise().dtype


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda progress: progress, r"\['a'\]\[0\] is the function <function .*LinearSchedule"),
        (Extractor, r"\['a'\]\[0\] is the class .*Extractor, .*allow_class"),
        (th.zeros(2), r"\['a'\]\[0\] is of the type Tensor"),
        (np.array(["a"]), r"\['a'\]\[0\] is of the type ndarray"),
        ({1: 2}, r"\['a'\]\[0\] has the key 1"),
        ({"$class": "a"}, r"\['a'\]\[0\] has the key '\$class'"),
        (np.dtype("U3"), r"\['a'\]\[0\] is of the type"),
        ({1, 2}, r"\['a'\]\[0\] is of the type set"),
        (np.nan, r"\['a'\]\[0\] is of the type float, .*: nan"),
    ],
)
def test_what_json_cannot_hold_is_named(value, message):
    with pytest.raises(ValueError, match="policy_kwargs" + message):
        to_plain({"a": [value]}, "policy_kwargs", {})


@pytest.mark.parametrize(
    "data",
    [
        {"$class": "os.system"},
        {"$class": "builtins.eval"},
        {"$class": ["torch.nn.ReLU"]},
        {"$class": "torch.nn.ReLU", "x": 1},
        {"$object": "Popen", "args": ["true"]},
        {"$object": "LinearSchedule", "start": 1.0},
        {"$object": ["LinearSchedule"]},
        {"$object": "LinearSchedule", "start": 1.0, "end": 0.0, "end_fraction": 1.0},  # here it is no learning rate
        {"$dtype": "(1000000000,)f8"},
        {"$array": "x['b']"},  # of another value
        {"$array": "x['a']", "shape": [1]},
        {"$array": ["x['a']"]},
        float("nan"),
        {"$tuple": {}},
        {"$dtype": "O"},
        {"$dtype": 3},
        {"$unknown": 1},
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises((ValueError, TypeError), match=r"x\['a'\]"):
        from_plain({"a": data}, "x", {"x['b']": np.zeros(2)})


@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("learning_rate", {"$object": "LinearSchedule", "start": "1", "end": 0, "end_fraction": 1}),
        ("learning_rate", {"$object": "LinearSchedule", "start": float("nan"), "end": 0, "end_fraction": 1}),
        ("learning_rate", {"$object": "LinearSchedule", "start": {"$class": "torch.nn.ReLU"}, "end": 0, "end_fraction": 1}),
        ("learning_rate", {"$object": "LinearSchedule", "start": None, "end": 0, "end_fraction": 1}),
        ("learning_rate", to_plain(NormalActionNoise(np.zeros(2), np.ones(2)), "", {}, "action_noise")),
        ("action_noise", {"$object": "NormalActionNoise", "mean": 0.0, "sigma": 1.0, "dtype": {"$dtype": "float32"}}),
    ],
)
def test_objects_of_nonsense_are_refused(field, data):
    with pytest.raises(ValueError, match=rf"^{field}"):
        from_plain(data, field, {}, field)


@pytest.mark.parametrize(("data", "name"), [({"a": [10**6 + 1]}, r"x\['a'\]\[0\]"), ({"$tuple": [-(10**4000)]}, r"x\[0\]")])
def test_numbers_that_memory_may_be_taken_for(data, name):
    with pytest.raises(ValueError, match=rf"{name} is -?10.*, expected at most 1,000,000"):
        from_plain(data, "x", {})
    assert from_plain({"buffer_size": 10**9}, "x", {}) == {"buffer_size": 10**9}


def test_a_class_of_ones_own():
    allow_class(Extractor)
    assert there_and_back(Extractor, "features_extractor_class") is Extractor
    with pytest.raises(ValueError, match=r"optimizer_class is the class .*Extractor, which is not on the list"):
        to_plain(Extractor, "optimizer_class", {}, "optimizer_class")
    with pytest.raises(ValueError, match=r"Popen cannot be named in a file: it is none of GAC, .*, Module"):
        allow_class(subprocess.Popen)

    class Hidden(NatureCNN):
        pass

    with pytest.raises(ValueError, match="top of a module"):
        allow_class(Hidden)


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
    st.builds(spaces.Discrete, st.integers(1, 10**6), dtype=st.sampled_from([np.int64, np.int32])),
    hnp.arrays(np.int64, SHAPES, elements=st.integers(1, 99)).map(spaces.MultiDiscrete),
    st.one_of(st.integers(1, 9), SHAPES).map(spaces.MultiBinary),
)
SPACES = st.recursive(
    LEAVES,
    lambda parts: st.lists(st.tuples(KEYS, parts), max_size=3, unique_by=lambda pair: pair[0]).map(
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
def test_spaces(space):
    assert same(there_and_back(space, "observation_space"), space)


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Tuple([spaces.Discrete(2)]), spaces.Dict(a=spaces.Text(3))])
def test_other_spaces_are_named(space):
    with pytest.raises(ValueError, match=r"observation_space(.spaces\['a'\])? is the space (Text|Tuple)"):
        to_plain(space, "observation_space", {}, "observation_space")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("Graph", {}),
        ("Discrete", {}),
        ("Discrete", {"n": 0, "dtype": {"$dtype": "int64"}}),
        ("Discrete", {"n": 2.5, "dtype": {"$dtype": "int64"}}),
        ("Discrete", {"n": 2, "dtype": {"$dtype": "object"}}),
        ("MultiBinary", {"n": "four"}),
        ("Box", {"low": {"$array": "action_space.low"}, "high": 1, "dtype": {"$dtype": "float32"}}),
        (
            "Box",
            {name: {"$array": f"action_space.{name}"} for name in ("low", "high")} | {"dtype": {"$dtype": "float32"}},
        ),  # two shapes
        ("Dict", {"spaces": [["a"]]}),
        ("Dict", {"spaces": {"a": {"$class": "sb3_gac.gac.GAC"}}}),
        ("LinearSchedule", {"start": 1.0, "end": 0.0, "end_fraction": 1.0}),
    ],
)
def test_other_spaces_of_nonsense_are_refused(kind, arguments):
    arrays = {"action_space.low": np.zeros(1, np.float32), "action_space.high": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match="action_space"):
        from_plain({"$object": kind, **arguments}, "action_space", arrays, "action_space")


@pytest.mark.parametrize("changes", [{"var": [-1.0]}, {"var": [1.0, 1.0]}])
def test_statistics_of_nonsense_are_refused(changes):
    arrays = {f"ret_rms.{key}": np.array(value) for key, value in ({"mean": [0.0], "var": [1.0]} | changes).items()}
    data = {"$object": "RunningMeanStd", "mean": {"$array": "ret_rms.mean"}, "var": {"$array": "ret_rms.var"}, "count": 1.0}
    with pytest.raises(ValueError, match="ret_rms is no RunningMeanStd: mean and var must be"):
        from_plain(data, "ret_rms", arrays, "ret_rms")
