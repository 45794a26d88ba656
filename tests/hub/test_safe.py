"""A model without pickles: all of it comes back, and whatever is wrong with its file is said."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC, load_safe, save_safe
from sb3_gac.hub import allow_class
from sb3_gac.policies import LatentPlanPolicy
from tests.hub.contents import read, write

IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
MIXED = spaces.Dict(
    {"b": spaces.Box(-1, 1, (2,)), "a": spaces.Discrete(3), "image": IMAGE, "c": spaces.MultiBinary(2)},
)


class Wide(FlattenExtractor):
    """A features extractor of the user's own."""


class Planner(LatentPlanPolicy):
    """A policy of the user's own."""


def vec(env_class, n_envs=2, **kwargs) -> DummyVecEnv:
    return DummyVecEnv([lambda: env_class(**kwargs) for _ in range(n_envs)])


def act(model, env) -> np.ndarray:
    """Actions of some steps in an environment that is reset with a seed."""
    env.seed(3)
    observations, state, actions = env.reset(), None, []
    for _ in range(4):
        action, state = model.predict(observations, state, deterministic=True)
        observations = env.step(action)[0]
        actions.append(action)
    return np.array(actions)


@pytest.fixture
def model(small_gac, diary_env) -> GAC:
    return small_gac(diary_env()).learn(23)


@pytest.fixture
def saved(model, tmp_path):
    return save_safe(model, tmp_path / "model")


def test_settings_of_acting_that_were_changed_come_back(model, tmp_path):
    model.policy.planner.replan_freq = 3
    loaded = load_safe(save_safe(model, tmp_path / "model"))
    assert loaded.policy.planner.replan_freq == 3
    observations = np.zeros((2, 3), dtype=np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )


def change(saved, **changes) -> None:
    """Change the JSON of a file."""
    text, tensors = read(saved)
    write(saved, json.dumps(json.loads(text) | changes), tensors)


def change_tensors(saved, function) -> None:
    """Change the tensors of a file."""
    text, tensors = read(saved)
    write(saved, text, function(tensors))


def part_of(saved, key):
    return json.loads(read(saved)[0])[key]


def test_nothing_but_data(saved):
    content = saved.read_bytes()
    # An archive or a pickle would begin otherwise: this is the length of the JSON header
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["format"] == "sb3_gac model 3"
    assert str(saved.parent) not in str(header)


def test_the_suffix_is_added(model, tmp_path):
    for name in ("v1.2", "v1.2.safetensors"):
        assert save_safe(model, tmp_path / "new" / name) == tmp_path / "new/v1.2.safetensors"
    assert load_safe(tmp_path / "new/v1.2").num_timesteps == load_safe(tmp_path / "new/v1.2.safetensors").num_timesteps == 23


def test_all_that_the_archive_brings_back(model, saved, diary_env, tmp_path):
    """Every attribute of plain data is the same, also those that are added in the future."""
    model.save(tmp_path / "archive")
    safe, archive = load_safe(saved, diary_env(), device="cpu"), GAC.load(tmp_path / "archive", diary_env(), device="cpu")
    plain = bool | int | float | str | list | dict | tuple | type | None
    names = {name for name, value in vars(archive).items() if isinstance(value, plain)} - {"start_time", "_last_plans"}
    assert len(names) > 40
    assert {name: vars(safe)[name] for name in names} == {name: vars(archive)[name] for name in names}
    for ours, theirs in zip(safe._last_plans, archive._last_plans, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert safe.target_return == archive.target_return
    np.testing.assert_array_equal(act(safe, safe.get_env()), act(model, safe.get_env()))


@pytest.mark.parametrize(
    ("policy", "observation_space", "action_space"),
    [
        ("MlpLatentPolicy", spaces.Discrete(4), spaces.Discrete(3)),
        ("MlpLatentPolicy", spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([3, 2])),
        ("MlpLatentPolicy", spaces.Box(-np.inf, np.inf, (3,)), spaces.MultiBinary(3)),
        ("CnnLatentPolicy", IMAGE, spaces.Box(-1, 1, (2,))),
        ("MultiInputLatentPolicy", MIXED, spaces.Box(np.array([-1, 0]), np.array([2, 5]), dtype=np.float32)),
    ],
)
def test_every_space_and_policy(small_gac, diary_env, tmp_path, policy, observation_space, action_space):
    env = vec(diary_env, observation_space=observation_space, action_space=action_space)
    kwargs = {} if policy == "MlpLatentPolicy" else dict(features_extractor_kwargs=dict(_small(policy)))
    model = small_gac(env, policy, policy_kwargs=kwargs).learn(20)
    loaded = load_safe(save_safe(model, tmp_path / "model"), env, device="cpu")
    np.testing.assert_array_equal(act(loaded, loaded.get_env()), act(model, loaded.get_env()))
    assert type(loaded.policy) is type(model.policy)
    # and goes on learning
    assert loaded.learn(20, reset_num_timesteps=False).num_timesteps == 40


def _small(policy):
    return {"cnn_output_dim": 8} if policy.startswith("Multi") else {"features_dim": 8}


def test_arguments_that_are_no_numbers(small_gac, diary_env, tmp_path):
    allow_class(Wide)
    allow_class(Planner)
    model = small_gac(
        vec(diary_env),
        Planner,
        learning_rate=LinearSchedule(1e-3, 1e-4, 0.5),
        action_noise=NormalActionNoise(np.zeros(2), np.full(2, 0.1)),
        train_freq=(3, "step"),
        kl_coef=0.3,
        policy_kwargs=dict(
            net_arch=dict(pi=[8], qf=[4]),
            activation_fn=th.nn.Tanh,
            features_extractor_class=Wide,
            optimizer_class=th.optim.AdamW,
            optimizer_kwargs=dict(betas=(0.8, 0.9), weight_decay=0.01),
        ),
    ).learn(40)
    assert isinstance(model.action_noise, VectorizedActionNoise)
    loaded = load_safe(save_safe(model, tmp_path / "model"), vec(diary_env, 3), device="cpu")
    assert loaded.policy_kwargs == model.policy_kwargs
    assert loaded.lr_schedule(0.75) == model.lr_schedule(0.75) == pytest.approx(5.5e-4)
    assert loaded.train_freq == model.train_freq
    assert type(loaded.policy) is Planner and type(loaded.policy.features_extractor) is Wide
    assert loaded.policy.optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    for owner in ("policy", "credit"):
        states = [getattr(m, owner).optimizer.state_dict()["state"] for m in (loaded, model)]
        assert states[0].keys() == states[1].keys() and len(states[0]) >= 4
        for index, state in states[1].items():
            assert all(th.equal(states[0][index][name], value) for name, value in state.items())
    loaded.learn(30, reset_num_timesteps=False)


def test_arguments_can_be_replaced(saved, diary_env):
    assert load_safe(saved, diary_env(), batch_size=7, verbose=1).batch_size == 7
    loaded = load_safe(saved, diary_env(), kl_coef=2.0, target_kl=5.0)
    assert loaded._current_kl_coef() == pytest.approx(2.0)
    assert loaded.target_kl == 5.0
    kept = load_safe(saved, diary_env())
    assert (loaded.target_return.value, loaded._n_updates) == (kept.target_return.value, kept._n_updates)


def test_a_model_without_an_environment(small_gac, make_dataset, tmp_path):
    model = small_gac().learn_offline(make_dataset(), 5)
    loaded = load_safe(save_safe(model, tmp_path / "model"))
    assert (loaded._n_updates, loaded._n_offline_updates) == (5, 5)
    assert loaded.get_env() is None
    loaded.learn_offline(make_dataset(), 3, reset_num_timesteps=False)
    with pytest.raises(ValueError, match="no networks yet"):
        save_safe(small_gac(), tmp_path / "other")


class TestNormalization:
    @pytest.fixture
    def normalized(self, small_gac, diary_env) -> GAC:
        return small_gac(VecNormalize(vec(diary_env), clip_obs=5.0)).learn(40)

    def test_it_comes_back_frozen(self, normalized, diary_env, tmp_path):
        loaded = load_safe(save_safe(normalized, tmp_path / "model"), diary_env(), device="cpu")
        env = loaded.get_vec_normalize_env()
        assert (env.training, env.norm_reward, env.norm_obs, env.clip_obs) == (False, False, True, 5.0)
        original = normalized.get_vec_normalize_env()
        np.testing.assert_array_equal(env.obs_rms.mean, original.obs_rms.mean)
        assert (env.obs_rms.count, env.ret_rms.var) == (original.obs_rms.count, original.ret_rms.var)
        observation = np.full((1, 3), 0.5, dtype=np.float32)
        np.testing.assert_array_equal(env.normalize_obs(observation), original.normalize_obs(observation))

    def test_the_model_knows_what_it_sees(self, normalized, diary_env, tmp_path):
        save_safe(normalized, tmp_path / "model")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = load_safe(tmp_path / "model", diary_env(), device="cpu")
        with pytest.warns(UserWarning, match="had normalised, env has none"):
            loaded.set_env(vec(diary_env, 1))

    def test_or_into_the_one_there(self, normalized, diary_env, tmp_path):
        env = VecNormalize(vec(diary_env, 1))
        loaded = load_safe(save_safe(normalized, tmp_path / "model"), env)
        assert loaded.get_vec_normalize_env() is env and env.training
        np.testing.assert_array_equal(env.obs_rms.var, normalized.get_vec_normalize_env().obs_rms.var)

    def test_dict_observations(self, small_gac, diary_env, tmp_path):
        space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(2))
        env = VecNormalize(vec(diary_env, observation_space=space), norm_obs_keys=["a"])
        kwargs = dict(features_extractor_class=CombinedExtractor)
        model = small_gac(env, "MultiInputLatentPolicy", policy_kwargs=kwargs).learn(20)
        loaded = load_safe(save_safe(model, tmp_path / "model"), diary_env(observation_space=space))
        np.testing.assert_array_equal(loaded.get_vec_normalize_env().obs_rms["a"].mean, env.obs_rms["a"].mean)

    def test_without_an_environment_it_is_kept_and_warned_of(self, normalized, diary_env, tmp_path):
        save_safe(normalized, tmp_path / "model")
        with pytest.warns(UserWarning, match="normalised by VecNormalize"):
            loaded = load_safe(tmp_path / "model")
        again = load_safe(save_safe(loaded, tmp_path / "again"), diary_env())
        statistics = [m.get_vec_normalize_env().obs_rms for m in (again, normalized)]
        np.testing.assert_array_equal(statistics[0].mean, statistics[1].mean)

    def test_an_environment_without_them_is_no_reason_to_lose_them(self, normalized, diary_env, tmp_path):
        path = save_safe(normalized, tmp_path / "model")
        with pytest.warns(UserWarning, match="normalised by VecNormalize"):
            loaded = load_safe(path)
        loaded.set_env(diary_env())
        before = path.read_bytes()
        with pytest.raises(ValueError, match="that its environment lacks"):
            save_safe(loaded, path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (dict(norm_obs="yes"), "norm_obs is 'yes'"),
            (dict(clip_obs="1"), "clip_obs is '1'"),
            (dict(epsilon=np.nan), "epsilon is not a number"),
            (dict(norm_obs_keys={"$class": "torch.nn.ReLU"}), "is the class torch.nn.ReLU, which is not on"),
            (dict(obs_rms=None), "obs_rms of the normalization has the shapes None"),
            (dict(more=1), "cannot read there"),
            (dict(ret_rms=None), "ret_rms is 'None'"),
        ],
    )
    def test_settings_of_anyone(self, normalized, tmp_path, changes, message):
        path = save_safe(normalized, tmp_path / "model")
        change(path, normalization=part_of(path, "normalization") | changes)
        with pytest.raises(ValueError, match=rf"{path}.*{message}"):
            load_safe(path)

    @pytest.mark.parametrize(
        ("name", "array", "message"),
        [
            ("obs_rms.var", -th.ones(3, dtype=th.float64), "var and count not negative"),
            ("obs_rms.mean", th.full((3,), np.nan, dtype=th.float64), "not a number"),
            ("obs_rms.mean", th.zeros(4, dtype=th.float64), "of one shape"),
        ],
    )
    def test_statistics_of_anyone(self, normalized, tmp_path, name, array, message):
        path = save_safe(normalized, tmp_path / "model")
        change_tensors(path, lambda ts: {key: array if key.endswith(name) else tensor for key, tensor in ts.items()})
        with pytest.raises(ValueError, match=rf"{path}.*{message}"):
            load_safe(path)

    def test_what_does_not_fit(self, normalized, saved, diary_env, tmp_path):
        with pytest.raises(ValueError, match="saved without one"):
            load_safe(saved, VecNormalize(vec(diary_env)))
        path = save_safe(normalized, tmp_path / "normalized")
        with pytest.raises(ValueError, match=r"shapes \(3,\), the environment needs \(4,\)"):
            load_safe(path, diary_env(spaces.Box(-1, 1, (4,))))
        with pytest.raises(ValueError, match="norm_obs=True"):
            load_safe(path, VecNormalize(vec(diary_env), norm_obs=False))


def discrete(n):
    return {"$object": "Discrete", "n": n, "dtype": {"$dtype": "int64"}}


class TestErrors:
    def test_what_json_cannot_hold_leaves_nothing(self, small_gac, diary_env, tmp_path):
        with pytest.raises(ValueError, match=r"\['learning_rate'\] is the function"):
            save_safe(small_gac(diary_env(), learning_rate=lambda progress: 1e-3), tmp_path / "model")
        kwargs = dict(features_extractor_class=type("Mine", (FlattenExtractor,), {}))
        with pytest.raises(ValueError, match=r"\['policy_kwargs'\]\['features_extractor_class'\] is the class .*Mine"):
            save_safe(small_gac(diary_env(), policy_kwargs=kwargs), tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_at_the_path(self, model, tmp_path):
        (tmp_path / "model.safetensors").mkdir()
        with pytest.raises(OSError, match="directory"):
            save_safe(model, tmp_path / "model")
        assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]

    def test_another_format(self, saved):
        write(saved, *read(saved), format="sb3_gac model 9")
        with pytest.raises(ValueError, match=rf"{saved} .*: its format is 'sb3_gac model 9', expected 'sb3_gac model 3'"):
            load_safe(saved)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (dict(more=1), "model is .*expected versions, algorithm"),
            (dict(arguments=[]), "arguments is '\\[\\]', expected dict"),
            (dict(arguments={"batch_sise": 3}), "batch_sise: no arguments of GAC"),
            (dict(arguments={"action_noise": 3}), "action_noise is '3', expected .*ActionNoise"),
            (dict(arguments={"policy_kwargs": {"net_arch": [17]}}), "size mismatch .*17"),
            (dict(arguments={"policy_kwargs": {"net_arch": [16, 16]}}), "Missing key"),
            (
                dict(arguments={"policy_kwargs": {"activation_fn": {"$class": "os.system"}}}),
                "class os.system, which is not on",
            ),
            (
                dict(algorithm={"$class": "sb3_gac.policies.LatentPlanPolicy"}),
                r"\['algorithm'\] is the class sb3_gac.policies.*, which is not on",
            ),
            (dict(policy="torch.nn.ReLU"), "policy is 'torch.nn.ReLU', expected type"),
            (dict(policy={"$class": "subprocess.Popen"}), "class subprocess.Popen, which is not on the list"),
            (dict(observation_space=discrete(3)), "cannot be loaded"),
            (dict(action_space=None), "action_space is 'None', expected .*Space"),
            (dict(progress={}), "progress is {}, expected num_timesteps"),
            (dict(target_return={"$object": "TargetReturn", "quantile": 0.5}), r"\['target_return'\] is .*quantile"),
            (dict(target_return=None), "target_return is 'None'"),
        ],
    )
    def test_a_changed_description(self, saved, changes, message):
        change(saved, **changes)
        with pytest.raises(ValueError, match=message):
            load_safe(saved)

    @pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "pickle", "zip"])
    def test_a_damaged_file(self, model, saved, damage):
        content = saved.read_bytes()
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 0x80]) + content[half + 1 :]
        changed = {"truncated": content[:half], "empty": b"", "flipped": flipped, "pickle": pickle.dumps({"a": 1})}
        if damage == "zip":
            model.save(saved)
        else:
            saved.write_bytes(changed[damage])
        with pytest.raises(ValueError, match=rf"{saved} cannot be loaded: it is damaged"):
            load_safe(saved)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*model\.safetensors"):
            load_safe(tmp_path / "model")

    def test_an_environment_of_other_spaces(self, saved, diary_env):
        with pytest.raises(ValueError, match="Observation spaces do not match"):
            load_safe(saved, diary_env(spaces.Box(-1, 1, (4,))))
        with pytest.raises(ValueError, match="Action spaces do not match"):
            load_safe(saved, diary_env(action_space=spaces.Discrete(2)))


def policy_kwargs(**changes):
    return dict(arguments={"policy_kwargs": {"net_arch": [16], "n_candidates": 8, **changes}})


class TestUntrusted:
    """Files of anyone: nothing of theirs runs, and no memory is taken that they should not have."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"features_extractor_class": {"$class": "sb3_gac.gac.GAC"}, "features_extractor_kwargs": {"env": "theirs:X-v0"}},
            {"optimizer_class": {"$class": "sb3_gac.gac.GAC"}, "optimizer_kwargs": {"env": "theirs:X-v0"}},
            {"activation_fn": {"$class": "sb3_gac.gac.GAC"}},
            {"activation_fn": {"$class": "torch.optim.Adam"}},
            {"features_extractor_class": {"$class": "torch.nn.ReLU"}},
            {"features_extractor_kwargs": {"model": {"$class": "sb3_gac.gac.GAC"}}},
            {"optimizer_kwargs": {"fn": {"$class": "torch.nn.ReLU"}}},
            {"n_decoders": {"$class": "torch.nn.ReLU"}},
            {"env": "theirs:X-v0"},
            {"actor": {"env": "theirs:X-v0"}},
            {"net_arch": {"env": "theirs:X-v0"}},
            {"activation_fn": "theirs.X"},
            {"activation_fn": None},
        ],
    )
    def test_policy_kwargs_run_nothing(self, saved, tmp_path, monkeypatch, changes):
        self.put_theirs(tmp_path, monkeypatch)
        change(saved, **policy_kwargs(**changes))
        with pytest.raises(ValueError, match=f"{saved} cannot be loaded: "):
            load_safe(saved)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            {"env": "theirs:X-v0"},
            {"policy": "theirs:X"},
            {"replay_buffer_class": {"$class": "sb3_gac.gac.GAC"}, "replay_buffer_kwargs": {"env": "theirs:X-v0"}},
            {"replay_buffer_kwargs": {"env": "theirs:X-v0"}},
            {"action_noise": {"$class": "sb3_gac.gac.GAC"}},
            {"learning_rate": {"$class": "sb3_gac.gac.GAC"}},
            {"learning_rate": "theirs:X"},
            {"kl_coef": {"$class": "torch.nn.ReLU"}},
            {"batch_size": "64"},
            {"seed": 1.5},
            {"buffer_size": 10**20},
            {"batch_size": 10**9},
            {"train_freq": {"$tuple": [1, 2]}},
            {"best_by": "chance"},
            {"policy_kwargs": 3},
        ],
    )
    def test_arguments_run_nothing(self, saved, tmp_path, monkeypatch, arguments):
        self.put_theirs(tmp_path, monkeypatch)
        change(saved, arguments=arguments)
        with pytest.raises(ValueError, match=str(saved)):
            load_safe(saved)
        assert not (tmp_path / "ran").exists()

    def put_theirs(self, folder, monkeypatch):
        (folder / "theirs.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()")
        monkeypatch.syspath_prepend(folder)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (policy_kwargs(net_arch=[10**6, 10**6]), "Missing key"),
            (policy_kwargs(net_arch=[10**6]), "size mismatch"),
            (policy_kwargs(net_arch=[10**12]), r"\['net_arch'\]\[0\] is 1000000000000, expected at most"),
            (policy_kwargs(net_arch=[1] * 10**5), "arguments take .* bytes, expected at most"),
            (policy_kwargs(net_arch=[1] * 10**4), "arguments ask for more than .* parameters"),
            (policy_kwargs(plan_dim=10**4), r"size mismatch .*20000, 16"),
            (policy_kwargs(n_candidates=10**7), "is 10000000, expected at most 1,000,000"),
            (policy_kwargs(n_critics=10**6), "size mismatch .*1000000, "),
            (policy_kwargs(n_elites=10**6), "unexpected keyword argument 'n_elites'"),
            (dict(observation_space=discrete(10**6)), "size mismatch|Missing key"),
            (dict(action_space=discrete(10**12)), "1000000000000"),
            (dict(action_space={"$object": "MultiBinary", "n": 10**12}), "1000000000000"),
            (dict(action_space=discrete(10**400)), r"\['action_space'\].* is 1000|integer string"),
        ],
    )
    def test_sizes_are_compared_before_memory_is_taken(self, saved, changes, message):
        change(saved, **changes)
        tracemalloc.start()
        with pytest.raises(ValueError, match=message):
            load_safe(saved)
        assert tracemalloc.get_traced_memory()[1] < 10**8
        tracemalloc.stop()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda moment: th.zeros(()), r"optimizer\.\d+ has .*'exp_avg_sq': \(\(\), .*, expected"),
            (lambda moment: moment[:1].clone(), r"optimizer\.\d+ has .*, expected"),
            (lambda moment: moment.double(), "torch.float64.*, expected .*torch.float32"),
            (lambda moment: moment * np.nan, r"optimizer\.\d+\.exp_avg_sq holds what is not a number"),
        ],
    )
    def test_moments_are_those_of_the_parameters(self, saved, make, message):
        change_tensors(
            saved, lambda ts: {k: make(t) if k.endswith("exp_avg_sq") and t.numel() > 1 else t for k, t in ts.items()}
        )
        with pytest.raises(ValueError, match=message):
            load_safe(saved)

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (
                lambda ts: {k: t for k, t in ts.items() if k != "optimizer.0.exp_avg"},
                r"optimizer\.0 has .*, expected .*exp_avg",
            ),
            (lambda ts: {k: t for k, t in ts.items() if k != "optimizer.0.step"}, r"optimizer\.0 has .*, expected .*step"),
            (lambda ts: {**ts, "optimizer.0.max_exp_avg_sq": th.zeros(1)}, r"optimizer\.0 has .*max_exp_avg_sq"),
            (lambda ts: {**ts, "optimizer.9999.step": th.zeros(())}, "optimizer.9999 has .*, expected None"),
            (lambda ts: {**ts, "optimizer.x.step": th.zeros(())}, "optimizer.x has .*, expected None"),
            (lambda ts: {**ts, "optimizer.step": th.zeros(())}, "cannot be loaded"),
            (lambda ts: {**ts, "policy.more": th.zeros(())}, r"Unexpected key.*more"),
            (lambda ts: {**ts, "more": th.zeros(())}, "more is no tensor of a model"),
        ],
    )
    def test_no_tensor_lacks_or_is_too_many(self, saved, function, message):
        change_tensors(saved, function)
        with pytest.raises(ValueError, match=message):
            load_safe(saved)

    def test_weights_are_numbers(self, saved):
        change_tensors(saved, lambda ts: {k: t * np.nan if "weight" in k and "policy" in k else t for k, t in ts.items()})
        with pytest.raises(ValueError, match=r"policy\..*weight holds what is not a number"):
            load_safe(saved)

    def test_weights_that_are_no_numbers_are_not_saved(self, model, tmp_path):
        with th.no_grad():
            next(model.policy.parameters()).fill_(np.nan)
        with pytest.raises(ValueError, match="not a number: the model has diverged"):
            save_safe(model, tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("key", "part"),
        [
            ("progress", dict(num_timesteps="3")),
            ("progress", dict(num_timesteps=True)),
            ("progress", dict(_log_kl_coef=np.nan)),
            ("progress", dict(_known_steps=["3"])),
            ("progress", dict(_known_steps=None)),
            ("progress", dict(_credited_steps="3")),
            ("progress", dict(_credited_steps=[3])),
            ("target_return", dict(value="3")),
            ("target_return", dict(unit=np.nan)),
        ],
    )
    def test_progress_is_made_of_numbers(self, saved, key, part):
        change(saved, **{key: part_of(saved, key) | part})
        with pytest.raises(ValueError, match=next(iter(part))):
            load_safe(saved)


class TestAtomic:
    def test_the_old_one_stays_when_the_new_one_fails(self, saved, model):
        before = saved.read_bytes()
        model.policy.optimizer.state[next(model.policy.parameters())]["step"] = "three"
        for path in (saved, saved.with_name("new")):
            with pytest.raises(ValueError, match="keeps step as str"):
                save_safe(model, path)
        assert saved.read_bytes() == before
        assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]

    @pytest.mark.parametrize("is_killed", [True, False])
    def test_a_crash_while_it_is_replaced(self, saved, model, is_killed):
        model.learn(10, reset_num_timesteps=False)
        child = os.fork()
        if child == 0:

            def crash(source, target):
                if is_killed:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise KeyboardInterrupt

            os.replace = crash
            try:
                save_safe(model, saved)
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        assert load_safe(saved).num_timesteps == 23
        save_safe(model, saved)
        assert load_safe(saved).num_timesteps == 33
        assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]

    def test_links_stay_links(self, saved, model):
        link = saved.with_name("link.safetensors")
        link.symlink_to(saved)
        save_safe(model.learn(10, reset_num_timesteps=False), link)
        assert link.is_symlink() and load_safe(saved).num_timesteps == 33


def test_the_extra_is_named(saved):
    program = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'safetensors' else find(name, *rest)\n"
        f"from sb3_gac import load_safe; load_safe({str(saved)!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'safetensors missing: pip install ".[hub]"' in done.stderr
