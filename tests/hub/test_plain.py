"""What plain JSON can hold comes back as it was; what it cannot is named."""

import json
import subprocess

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_gac import GAC
from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.hub import allow_class
from sb3_gac.hub.plain import MAX_ELEMENTS, check_limits, from_plain, to_plain
from sb3_gac.policies import LatentPlanPolicy

KEYS = st.text(max_size=5).filter(lambda key: not key.startswith("$"))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda items: st.one_of(
        st.lists(items, max_size=3), st.dictionaries(KEYS, items, max_size=3), st.lists(items, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
DTYPES = st.sampled_from(["bool", "int8", "uint64", "int64", "float16", "float32", "float64"])


class Extractor(NatureCNN):
    """A class of the user's own."""


def there_and_back(value, field="value"):
    return from_plain(json.loads(json.dumps(to_plain(value, field), allow_nan=False)), field)


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
            to_plain({other: cls}, "kwargs")
        with pytest.raises(ValueError, match=rf"kwargs\['{other}'\] is the class .*{cls.__name__}, which is not on the list"):
            from_plain({other: to_plain(cls, "", field)}, "kwargs")


@pytest.mark.parametrize(
    "schedule", [LinearSchedule(1e-3, 1e-5, 0.7), ConstantSchedule(0.1), FloatSchedule(LinearSchedule(1.0, 0.0, 1.0))]
)
def test_schedules(schedule):
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
    ],
)
def test_what_json_cannot_hold_is_named(value, message):
    with pytest.raises(ValueError, match="policy_kwargs" + message):
        to_plain({"a": [value]}, "policy_kwargs")


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
        {"$object": "ConstantSchedule", "val": 1.0},  # here it is no learning rate
        {"$dtype": "(1000000000,)f8"},
        {"$array": [10**12 + 1], "shape": [1], "dtype": "float32"},
        {"$array": [0.5], "shape": [1], "dtype": "int64"},
        {"$array": [0], "shape": [True], "dtype": "float64"},
        {"$array": [0], "shape": [MAX_ELEMENTS + 1], "dtype": "float64"},
        {"$float": "1e999"},
        {"$tuple": {}},
        {"$dtype": "O"},
        {"$dtype": 3},
        {"$array": [1], "shape": [-1], "dtype": "int64"},
        {"$array": ["x"], "shape": [1], "dtype": "float64"},
        {"$array": [[1]], "shape": [2], "dtype": "float64"},
        {"$unknown": 1},
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises((ValueError, TypeError), match=r"x\['a'\]"):
        from_plain({"a": data}, "x")


@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("learning_rate", {"$object": "LinearSchedule", "start": "1", "end": 0, "end_fraction": 1}),
        ("learning_rate", {"$object": "ConstantSchedule", "val": {"$float": "nan"}}),
        ("learning_rate", {"$object": "FloatSchedule", "value_schedule": {"$class": "torch.nn.ReLU"}}),
        ("learning_rate", {"$object": "FloatSchedule", "value_schedule": None}),
        ("learning_rate", to_plain(NormalActionNoise(np.zeros(2), np.ones(2)), "action_noise")),
        ("action_noise", {"$object": "NormalActionNoise", "mean": 0.0, "sigma": 1.0, "dtype": {"$dtype": "float32"}}),
    ],
)
def test_objects_of_nonsense_are_refused(field, data):
    with pytest.raises(ValueError, match=rf"^{field}"):
        from_plain(data, field)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [10**6 + 1]}, r"x\['a'\]\[0\] is 1000001, expected at most 1,000,000"),
        ({"a": {"$tuple": [-(10**4000)]}}, r"x\['a'\]\['\$tuple'\]\[0\] is -1000"),
        ([{"$array": [0], "shape": [2048, 2049], "dtype": "int8"}], "arrays of 4,196,352 numbers"),
        ([{"$array": [0], "shape": [2**20], "dtype": "int8"}] * 5, "x has arrays of 5,242,880 numbers"),
    ],
)
def test_limits(data, message):
    with pytest.raises(ValueError, match=message):
        check_limits(data, "x", most=10**6)


def test_depth_is_bounded():
    data: list = []
    for _ in range(100):
        data = [data]
    for check in (from_plain, check_limits):
        with pytest.raises(ValueError, match="nested too deeply"):
            check(data, "x")


def test_a_class_of_ones_own():
    allow_class(Extractor)
    assert there_and_back(Extractor, "features_extractor_class") is Extractor
    with pytest.raises(ValueError, match=r"optimizer_class is the class .*Extractor, which is not on the list"):
        to_plain(Extractor, "optimizer_class")
    with pytest.raises(ValueError, match=r"Popen cannot be named in a file: it is none of GAC, .*, Module"):
        allow_class(subprocess.Popen)

    class Hidden(NatureCNN):
        pass

    with pytest.raises(ValueError, match="top of a module"):
        allow_class(Hidden)
