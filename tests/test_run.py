"""The two loops, online and offline: what is collected, when the model is trained and what is logged."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common import base_class
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from torch.nn.utils import parameters_to_vector

from sb3_gac import GAC, gac
from sb3_gac.credit import AssignedCredit, CreditRule


class Memory(KVWriter):
    """Keeps what is logged, one dict per dump."""

    def __init__(self) -> None:
        self.dumps: list[dict[str, Any]] = []

    def write(self, key_values, key_excluded, step=0) -> None:
        self.dumps.append(dict(key_values))

    def close(self) -> None:
        pass


def remember_logs(model: GAC) -> list[dict[str, Any]]:
    memory = Memory()
    model.set_logger(Logger(folder=None, output_formats=[memory]))
    return memory.dumps


def vec(env_class, n_envs, **kwargs) -> DummyVecEnv:
    return DummyVecEnv([lambda: env_class(**kwargs) for _ in range(n_envs)])


def parameters(model: GAC) -> np.ndarray:
    return th.cat([parameter.detach().flatten() for parameter in model.policy.parameters()]).numpy()


# 40 steps in episodes of 5, learning after step 12
@pytest.mark.parametrize(
    ("train_freq", "gradient_steps", "n_updates"),
    [
        (1, 1, 28),
        (1, 3, 84),
        (1, 0, 0),
        (1, -1, 28),
        ((4, "step"), 1, 7),
        ((4, "step"), -1, 28),
        ((1, "episode"), 1, 6),
        ((2, "episode"), -1, 30),
    ],
)
def test_how_often_the_model_is_trained(small_gac, diary_env, train_freq, gradient_steps, n_updates):
    model = small_gac(diary_env(), learning_starts=12, train_freq=train_freq, gradient_steps=gradient_steps)
    model.learn(40)
    assert model._n_updates == n_updates
    assert model.num_timesteps == 40


def test_as_many_gradient_steps_as_steps_of_all_envs(small_gac, diary_env):
    model = small_gac(vec(diary_env, 2), learning_starts=0, train_freq=3, gradient_steps=-1).learn(3)
    assert (model.num_timesteps, model._n_updates) == (6, 6)


@pytest.mark.parametrize(("n_envs", "train_freq"), [(1, 1), (1, 4), (1, 20), (2, 10), (2, 7)])
def test_a_gradient_step_for_ten_steps_of_all_envs(small_gac, diary_env, n_envs, train_freq):
    env = vec(diary_env, n_envs)
    model = small_gac(env, learning_starts=0, train_freq=train_freq, gradient_steps=-10)
    for n_timesteps in (n_envs * train_freq * 10, n_envs * train_freq * 20):
        model.learn(n_envs * train_freq * 10, reset_num_timesteps=False)
        assert model.num_timesteps == n_timesteps
        assert model._n_updates == n_timesteps // 10


def test_several_envs_cannot_be_trained_by_episodes(small_gac, diary_env):
    with pytest.raises(AssertionError, match="only one env"):
        small_gac(vec(diary_env, 2), train_freq=(1, "episode")).learn(10)


@pytest.mark.parametrize("train_freq", ["4", ("1", "episode"), (1, "day"), 0, -1, (0, "episode"), (-1, "step")])
def test_train_freq_that_makes_no_sense(small_gac, diary_env, train_freq):
    with pytest.raises(ValueError, match="train_freq"):
        small_gac(diary_env(), train_freq=train_freq)


@pytest.mark.parametrize("terminates", [True, False])
def test_what_is_collected(small_gac, diary_env, terminates):
    env = diary_env(length=5, terminates=terminates)
    model = small_gac(env).learn(23)
    buffer = model.replay_buffer
    assert buffer.lengths.tolist() == [5] * 4
    assert buffer.returns.tolist() == [15.0] * 4
    np.testing.assert_array_equal(buffer.rewards[:23, 0], [1, 2, 3, 4, 5] * 4 + [1, 2, 3])
    np.testing.assert_array_equal(buffer.timeouts[:20, 0], [0, 0, 0, 0, not terminates] * 4)
    # Six observations per episode, the last of which is never acted upon
    acted_upon = np.reshape(env.observations, (-1, 3))[[i for i in range(28) if i % 6 != 5]]
    np.testing.assert_array_equal(buffer.observations[:23, 0], acted_upon[:23])
    np.testing.assert_allclose(2 * buffer.actions[:23, 0], env.actions, rtol=1e-6)


def test_several_envs_are_told_apart(small_gac, diary_env):
    env = DummyVecEnv([lambda length=length: diary_env(length=length) for length in (2, 3, 7)])
    buffer = small_gac(env, train_freq=3).learn(3 * 12).replay_buffer
    assert sorted(buffer.lengths) == [2] * 6 + [3] * 4 + [7]
    assert sorted(buffer.returns) == [3.0] * 6 + [6.0] * 4 + [28.0]


def test_envs_in_processes_of_their_own(small_gac):
    env = make_vec_env("Pendulum-v1", n_envs=2, vec_env_cls=SubprocVecEnv, vec_env_kwargs=dict(start_method="fork"))
    try:
        model = small_gac(env).learn(30)
        assert model._n_updates == 13  # after steps 6, 8, ..., 30
        actions, _ = model.predict(env.reset())
        assert actions.shape == (2, 1)
    finally:
        env.close()


def test_trains_before_the_first_episode_has_ended(small_gac, diary_env):
    model = small_gac(diary_env(length=1000)).learn(20)
    assert model._n_updates == 15
    assert model.replay_buffer.n_trajectories == 0


def test_endless_episodes_are_cut_where_the_buffer_is_full(small_gac, diary_env):
    model = small_gac(diary_env(length=-1), buffer_size=16)
    with pytest.warns(UserWarning, match="an episode has filled its part of the buffer, 16 steps, .* at least 1 times"):
        model.learn(32)
    assert model.replay_buffer.lengths.tolist() == [16]
    assert model.replay_buffer.returns.tolist() == [float(sum(range(17, 33)))]


def test_one_step_episodes_are_learnt_from_their_returns():
    env = IdentityEnvBox(eps=0.5, ep_length=1)  # a random action is right in 7 of 16 cases
    net = dict(net_arch=[32], n_candidates=64)
    model = GAC("MlpLatentPolicy", env, batch_size=32, learning_rate=2e-3, policy_kwargs=net, seed=0).learn(500)
    assert evaluate_policy(model, env, n_eval_episodes=100, warn=False)[0] > 0.9


def test_what_a_reset_cuts_is_no_episode(small_gac, diary_env):
    model = small_gac(diary_env(length=8)).learn(6)
    model.learn(6, reset_num_timesteps=False)
    assert model.replay_buffer.lengths.tolist() == [8]
    model.learn(9)
    model.learn(9)
    assert model.replay_buffer.lengths.tolist() == [8] * 3
    assert model.replay_buffer.returns.tolist() == [36] * 3
    # SB3's readers of the arrays see where the trajectories end
    assert np.flatnonzero(model.replay_buffer.dones[:30, 0]).tolist() == [7, 11, 19, 20, 28]
    assert np.flatnonzero(model.replay_buffer.timeouts[:30, 0]).tolist() == [11, 20]


@pytest.mark.parametrize("return_only", [True, False])
def test_rewards_of_steps_are_looked_at_unless_it_is_told_not_to(small_gac, diary_env, return_only):
    class BackwardEnv(diary_env):
        def step(self, action):
            obs, reward, *others = super().step(action)
            return obs, self.length + 1 - reward, *others

    models = []
    for env_class in (diary_env, BackwardEnv):
        env = env_class()
        env.action_space.seed(0)
        models.append(small_gac(env, return_only=return_only).learn(130))  # estimates advantages twice
    forward, backward = models
    assert forward.replay_buffer.returns.tolist() == backward.replay_buffer.returns.tolist() == [15.0] * 26
    assert forward.replay_buffer.rewards[:5, 0].tolist() == [1, 2, 3, 4, 5]
    assert backward.replay_buffer.rewards[:5, 0].tolist() == [5, 4, 3, 2, 1]
    assert np.array_equal(parameters(forward), parameters(backward)) == return_only
    assert np.array_equal(forward.replay_buffer.actions, backward.replay_buffer.actions) == return_only


class RisingEnv(gym.Env):
    """Episodes of one step, the n-th of which begins at n and returns n."""

    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,)), spaces.Box(-1.0, 1.0, (1,))
    n_resets = 0

    def reset(self, *, seed=None, options=None):
        self.n_resets += 1
        return np.full(1, self.n_resets, np.float32), {}

    def step(self, action):
        return np.full(1, self.n_resets, np.float32), float(self.n_resets), True, False, {}


def test_statistics_follow_a_full_buffer(small_gac):
    model = small_gac(RisingEnv(), buffer_size=4000, train_freq=100, policy_kwargs=dict(plan_horizon=None)).learn(8000)
    returns = model.replay_buffer.returns
    assert (returns.min(), returns.max()) == (4001, 8000)
    predictor, target = model.policy.model.return_predictor, model.target_return
    # Taken when a quarter of the buffer at most was older
    assert returns.min() < predictor.return_mean < returns.max()
    assert returns.std() / 3 < predictor.return_std < 2 * returns.std()
    assert returns.min() < target.low <= target.value <= target.high < returns.max() + returns.std()


def test_statistics_follow_in_another_number_of_envs(small_gac, diary_env, tmp_path):
    model = small_gac(diary_env()).learn(200)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = GAC.load(tmp_path / "model", env=DummyVecEnv([diary_env] * 5))
    loaded.load_replay_buffer(tmp_path / "buffer")
    known_steps = loaded._known_steps
    loaded.learn(100, reset_num_timesteps=False)
    assert loaded._known_steps > known_steps


def test_credit_of_images_looks_at_few_at_once(small_gac, diary_env, monkeypatch):
    space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    monkeypatch.setattr(gac, "FEATURES_BATCH", 30)
    model = small_gac(diary_env(space), policy="CnnLatentPolicy", buffer_size=100, learning_starts=50).learn(50)
    with mock.patch.object(model.policy, "extract_features", wraps=model.policy.extract_features) as extract:
        model._assign_credit()
    assert [len(call.args[0]) for call in extract.call_args_list] == [25, 25]


def test_warm_up_acts_at_random(small_gac, diary_env, monkeypatch):
    monkeypatch.setattr(gac, "N_RANDOM_EPISODES", 1e-9)
    model = small_gac(diary_env(), learning_starts=12)
    with mock.patch.object(model.policy, "predict", wraps=model.policy.predict) as predict:
        model.learn(20)
    assert predict.call_count == 5  # the episode that was under way goes on to its end after 15 steps


def test_no_warm_up_after_offline_learning(small_gac, diary_env, make_dataset):
    model = small_gac(diary_env(), learning_starts=12).learn_offline(make_dataset(), 2)
    with mock.patch.object(model.policy, "predict", wraps=model.policy.predict) as predict:
        model.learn(20)
    assert predict.call_count == 20


@pytest.mark.parametrize("n_envs", [1, 2])
def test_action_noise(small_gac, diary_env, n_envs):
    noise = NormalActionNoise(mean=np.array([5.0, -5.0]), sigma=np.zeros(2))  # always over the bounds
    model = small_gac(vec(diary_env, n_envs), action_noise=noise).learn(20)
    assert isinstance(model.action_noise, VectorizedActionNoise) == (n_envs > 1)
    actions = model.replay_buffer.actions[: 20 // n_envs]
    assert actions.shape == (20 // n_envs, n_envs, 2)
    assert (actions == [1.0, -1.0]).all()
    for env in model.get_env().unwrapped.envs:
        assert (np.array(env.unwrapped.actions) == [2.0, -2.0]).all()


@pytest.mark.parametrize(
    ("plan_horizon", "explore_ratio", "n_planned"),
    [
        (None, 1.0, [2, 1, 1, 1]),  # both start, then whoever has ended: the first after 4 and 8 steps, the second after 6
        (None, 0.0, [2, 1, 1, 1]),
        (5, 1.0, [2, 1, 1, 1, 1, 1]),  # exploration also after 5 and 11 steps of the second
        (
            5,
            0.0,
            [2, 2, 1, 1, 1, 1, 1, 1],
        ),  # exploitation also: 3, 7 and 11 of the first, 3 and 9 of the second
    ],
)
def test_when_rollouts_plan(small_gac, diary_env, monkeypatch, plan_horizon, explore_ratio, n_planned):
    monkeypatch.setattr(gac, "N_RANDOM_EPISODES", 1e-9)
    env = DummyVecEnv([lambda length=length: diary_env(length=length) for length in (4, 6)])
    policy_kwargs = dict(plan_horizon=plan_horizon, replan_freq=3)
    kwargs = dict(explore_ratio=explore_ratio, policy_kwargs=policy_kwargs)
    model = small_gac(env, learning_starts=0, gradient_steps=0, **kwargs)
    model._n_informed_episodes = 1
    with mock.patch.object(model.policy.planner, "plan", wraps=model.policy.planner.plan) as plan:
        model.learn(2 * 12, reset_num_timesteps=False)
    assert [len(call.args[1]) for call in plan.call_args_list] == n_planned


def test_another_credit_rule(diary_env):
    """All steps weigh alike, and no segment is better than another: random policies go on."""

    class NoCredit(CreditRule):
        def __init__(self, features_dim, action_dim, net_arch, activation_fn):
            super().__init__(features_dim, action_dim, net_arch, activation_fn)
            self.net = th.nn.Linear(features_dim, 1)
            self.optimizer = th.optim.Adam(self.parameters())

        def assign(self, features, actions, rewards, steps, *settings):
            return AssignedCredit(np.ones(len(features)), np.full(len(features), 0.5), {"advantage_ess": 0.25})

    class OtherGAC(GAC):
        credit_rule_class = NoCredit

    kwargs = dict(learning_starts=5, train_freq=5, policy_kwargs=dict(net_arch=[8]), device="cpu")
    model = OtherGAC("MlpLatentPolicy", diary_env(), **kwargs)
    logs = remember_logs(model)
    model.learn(30, log_interval=1)
    assert any(log.get("train/advantage_ess") == 0.25 for log in logs)
    advantages = model.replay_buffer.advantages[: model.replay_buffer.size()]
    assert set(advantages[~np.isnan(advantages)]) == {0.5}
    assert not model._is_informed


def test_learning_rate_schedule(small_gac, diary_env):
    model = small_gac(diary_env(), learning_rate=lambda progress: 1e-3 * progress + 1e-5)
    logs = remember_logs(model)
    model.learn(20, log_interval=1)
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
    # Logged after 10, 15 and 20 steps, always before the gradient step that follows
    assert [log["train/learning_rate"] for log in logs[1:]] == pytest.approx([1e-3 * (1 - n / 20) + 1e-5 for n in (9, 14, 19)])


@pytest.mark.parametrize(
    ("optimizer_class", "optimizer_kwargs"),
    [
        (th.optim.SGD, dict(momentum=0.5)),
        (th.optim.AdamW, dict(weight_decay=0.1)),
        (th.optim.Adam, dict(eps=1e-5)),
        (th.optim.RMSprop, None),
    ],
)
def test_custom_optimizer(small_gac, diary_env, optimizer_class, optimizer_kwargs):
    kwargs = dict(optimizer_class=optimizer_class, optimizer_kwargs=optimizer_kwargs)
    model = small_gac(diary_env(), learning_rate=3e-4, policy_kwargs=kwargs)
    before = parameters(model)
    model.learn(10)
    assert type(model.policy.optimizer) is optimizer_class
    group = model.policy.optimizer.param_groups[0]
    assert group["lr"] == 3e-4
    assert all(group[name] == value for name, value in (optimizer_kwargs or {}).items())
    assert not np.array_equal(parameters(model), before)


@pytest.mark.parametrize("net_arch", [[], [8], [8, 4], dict(pi=[8], qf=[4, 4]), dict(pi=[], qf=[])], ids=str)
def test_net_arch(small_gac, diary_env, net_arch):
    model = small_gac(diary_env(), policy_kwargs=dict(net_arch=net_arch)).learn(10)
    arch = net_arch if isinstance(net_arch, dict) else dict(pi=net_arch, qf=net_arch)
    assert [layer.out_features for layer in model.policy.model.decoder.layers] == arch["pi"]
    hidden_net = model.policy.model.return_predictor.hidden_net
    assert [layer.bias.shape[-1] for layer in hidden_net if hasattr(layer, "bias")] == arch["qf"]


def test_n_critics(small_gac, diary_env):
    model = small_gac(diary_env(), policy_kwargs=dict(n_critics=3)).learn(10)
    assert model.policy.model.return_predictor.n_members == 3


def test_what_is_logged(small_gac, diary_env):
    model = small_gac(diary_env())
    logs = remember_logs(model)
    model.learn(20, log_interval=1)
    assert [log["time/episodes"] for log in logs] == [1, 2, 3, 4]
    assert [log["time/total_timesteps"] for log in logs] == [5, 10, 15, 20]
    assert [log["rollout/ep_rew_mean"] for log in logs] == [15.0] * 4
    assert [log.get("train/n_updates") for log in logs] == [None, 4, 9, 14]
    # All returns are equal: the target stands there
    assert logs[-1]["rollout/target_return"] == 15.0
    for name in ("loss", "action_log_prob", "return_log_prob", "advantage_log_prob", "kl", "kl_coef"):
        assert np.isfinite(logs[-1][f"train/{name}"])


def test_log_interval(small_gac, diary_env, make_dataset):
    model = small_gac(diary_env())
    logs = remember_logs(model)
    model.learn(20, log_interval=2)
    assert [log["time/episodes"] for log in logs] == [2, 4]
    model.learn_offline(make_dataset(), 9, log_interval=3)
    assert [log["time/total_timesteps"] for log in logs[2:]] == [3, 6, 9]
    model.learn(20, log_interval=None)
    model.learn_offline(make_dataset(), 9, log_interval=None)
    assert len(logs) == 5


def test_a_run_can_be_repeated(small_gac, diary_env):
    first, second, other = (small_gac(diary_env(), seed=seed).learn(20) for seed in (1, 1, 2))
    np.testing.assert_array_equal(parameters(first), parameters(second))
    np.testing.assert_array_equal(first.replay_buffer.actions[:20], second.replay_buffer.actions[:20])
    assert not np.array_equal(parameters(first), parameters(other))


@pytest.mark.parametrize(
    ("part", "culprit"),
    [("model.decoder.head", "action_log_prob"), ("model.return_predictor.head", "return_log_prob"), ("model.prior", "kl")],
)
def test_a_loss_that_is_not_finite_says_which_term(small_gac, diary_env, part, culprit):
    model = small_gac(diary_env()).learn(6)
    with th.no_grad():
        for parameter in model.policy.get_submodule(part).parameters():
            parameter.fill_(th.nan)
    with pytest.raises(ValueError, match=f"not finite after 1 updates: {culprit}$"):
        model.train(gradient_steps=1)


def test_nothing_to_learn_from(small_gac, diary_env):
    with pytest.raises(RuntimeError, match="nothing to learn from"):
        small_gac(diary_env()).train(gradient_steps=1)


def test_the_discount_weighs_steps(small_gac, make_dataset):
    """An action is rewarded one step later: who looks no further than one step sees nothing in it."""
    data = make_dataset(n=60, length=6)
    delayed = [
        replace(trajectory, rewards=np.append(0.0, trajectory.actions[:-1].reshape(5, -1)[:, 0]))
        for trajectory in data.trajectories
    ]
    first_actions = np.concatenate([trajectory.actions.reshape(6, -1)[:-1, 0] for trajectory in delayed])

    def weights_of_actions(**settings) -> np.ndarray:
        buffer = small_gac(**settings).learn_offline(replace(data, trajectories=delayed), 1).offline_buffer
        assert buffer.weights.mean() == pytest.approx(1.0, abs=1e-3)
        return buffer.weights.reshape(60, 6)[:, :-1].reshape(-1)

    far_sighted, short_sighted = (np.corrcoef(weights_of_actions(gamma=g), first_actions)[0, 1] for g in (0.9, 0.0))
    assert far_sighted > 0.5 > 0.3 > abs(np.nan_to_num(short_sighted))
    assert (weights_of_actions(advantage_temperature=None) == 1).all()


def test_batch_norm_learns_in_training_only(small_gac, diary_env, make_dataset):
    class BatchNorm(th.nn.Sequential):
        features_dim = 3

        def __init__(self, observation_space) -> None:
            super().__init__(th.nn.BatchNorm1d(3), th.nn.Dropout(0.5))

    def running_mean(model: GAC) -> np.ndarray:
        return model.policy.features_extractor[0].running_mean.numpy().copy()

    kwargs = dict(features_extractor_class=BatchNorm)
    model = small_gac(diary_env(), learning_starts=0, gradient_steps=0, policy_kwargs=kwargs).learn(20)
    assert (running_mean(model) == 0).all()
    model.train(gradient_steps=1)
    trained = running_mean(model)
    assert (trained != 0).all()
    actions = [model.predict(np.ones((2, 3), dtype=np.float32), deterministic=True)[0] for _ in range(3)]
    np.testing.assert_array_equal(actions[1:], actions[:-1])
    model._credited_steps = None
    model._assign_credit()
    np.testing.assert_array_equal(running_mean(model), trained)


def test_batch_norm_needs_no_second_rollout(small_gac, diary_env):
    class BatchNorm(th.nn.BatchNorm1d):
        features_dim = 3

        def __init__(self, observation_space) -> None:
            super().__init__(3, momentum=1.0)

    kwargs = dict(features_extractor_class=BatchNorm)
    model = small_gac(diary_env(), learning_starts=0, policy_kwargs=kwargs).learn(9)
    assert model.replay_buffer.n_trajectories == 1
    norm = model.policy.features_extractor
    with mock.patch.object(norm, "forward", wraps=norm.forward) as forward:
        model.train(gradient_steps=1, batch_size=2)
    assert norm.num_batches_tracked == 2 * model._n_updates  # the steps of a batch, and where its trajectories start
    assert forward.call_count == 2


class TestOffline:
    def test_counts(self, small_gac, diary_env, make_dataset):
        model = small_gac(diary_env()).learn_offline(make_dataset(), 10)
        assert (model.num_timesteps, model._n_updates) == (10, 10)
        model.learn_offline(make_dataset(), 5, reset_num_timesteps=False)
        assert (model.num_timesteps, model._n_updates) == (15, 15)
        model.learn_offline(make_dataset(), 5)
        assert (model.num_timesteps, model._n_updates) == (5, 20)

    def test_the_data_brings_the_spaces(self, make_dataset, small_gac):
        model = small_gac().learn_offline(make_dataset(), 3)
        assert model.observation_space.shape == (3,)
        assert model.action_space.shape == (2,)
        assert model.get_env() is None
        assert model.predict(np.zeros(3, dtype=np.float32))[0].shape == (2,)

    def test_fine_tuning_in_any_number_of_envs(self, small_gac, diary_env, make_dataset):
        model = small_gac().learn_offline(make_dataset(), 3)
        with pytest.raises(AssertionError, match="environment"):
            model.learn(10)
        model.set_env(vec(diary_env, 3))
        assert model.learn(30).replay_buffer.lengths.tolist() == [5] * 6

    def test_then_online(self, small_gac, diary_env, make_dataset):
        kwargs = dict(offline_ratio=0.25, policy_kwargs=dict(plan_horizon=None))
        model = small_gac(vec(diary_env, 3), **kwargs).learn_offline(make_dataset(n=4), 3)
        model.learn(30)
        assert model.offline_buffer.n_trajectories == 4
        assert model.replay_buffer.n_trajectories == 6
        # The returns of the data are 0, 5, 10 and 15, those of the rollouts 15
        batch = model._sample_batch(400, 2)
        assert (batch.returns == 15).sum().item() == pytest.approx(300 + 25, abs=30)

    def test_the_return_alone_is_enough(self, small_gac, diary_env, make_dataset):
        data = make_dataset(n=3, length=4)
        blind = replace(data, trajectories=[trajectory.return_only() for trajectory in data.trajectories])
        models = [small_gac(return_only=True).learn_offline(each, 3) for each in (data, blind)]
        assert all(model.offline_buffer.returns.tolist() == [0.0, 4.0, 8.0] for model in models)
        np.testing.assert_array_equal(parameters(models[0]), parameters(models[1]))
        told = [small_gac().learn_offline(each, 3) for each in (data, blind)]
        assert not np.array_equal(parameters(told[0]), parameters(told[1]))

    def test_there_is_no_env_to_step(self, small_gac, make_dataset):
        envs = []
        small_gac().learn_offline(make_dataset(), 1, callback=lambda locals_, _: envs.append(locals_["self"].get_env()))
        with pytest.raises(RuntimeError, match="set_env"):
            envs[0].step(np.zeros((1, 2)))


def losses(model: GAC, learn: Callable[[], Any]) -> list[float]:
    with mock.patch.object(model, "_check_finite", wraps=model._check_finite) as check:
        learn()
    return [call.args[1].item() for call in check.call_args_list]


class TestReturns:
    """What is known of them, and when."""

    @pytest.mark.parametrize("plan_horizon", [20, None])
    def test_nothing_counts_as_one_before_an_episode_ends(self, small_gac, diary_env, plan_horizon):
        model = small_gac(diary_env(length=60), policy_kwargs=dict(plan_horizon=plan_horizon))
        predictor = model.policy.model.return_predictor
        before = parameters_to_vector(predictor.parameters()).detach().clone()
        model.learn(59)
        assert model.target_return.value is None and not predictor.has_statistics
        assert th.equal(parameters_to_vector(predictor.parameters()), before)
        model.learn(2, reset_num_timesteps=False)
        episode_return = 60 * 61 / 2
        assert model.target_return.value == episode_return
        assert (model.policy.planner.target_return.item(), predictor.return_mean.item()) == (episode_return, episode_return)
        assert not th.equal(parameters_to_vector(predictor.parameters()), before)

    def test_while_they_do_not_vary_nothing_blows_up(self, small_gac, diary_env):
        model = small_gac(diary_env(length=60), effective_horizon=0.01)  # of returns: actions of few steps are guessed badly
        assert max(losses(model, lambda: model.learn(200))) < 10

    def test_that_vary_no_more(self, small_gac, make_dataset):
        model = small_gac().learn_offline(make_dataset(n=8, length=20), 20)
        alike = [replace(part, rewards=np.full(20, 25.0)) for part in make_dataset(n=8, length=20).trajectories]
        assert max(losses(model, lambda: model.learn_offline(alike, 50))) < 300


def test_the_rate_of_a_phase_begins_where_its_schedule_does(small_gac, make_dataset):
    model = small_gac(learning_rate=lambda progress: progress)
    rates = []
    with mock.patch.object(base_class, "update_learning_rate", side_effect=lambda _, rate: rates.append(rate)):
        for _ in range(2):
            model.learn_offline(make_dataset(), 4)
    assert rates == [1.0, 0.75, 0.5, 0.25] * 2


def test_a_fixed_weight_of_the_kl_may_be_changed(small_gac, diary_env):
    model = small_gac(diary_env(), kl_coef=2.0).learn(10)
    assert model._current_kl_coef() == 2.0
    model.kl_coef = 0.5
    assert model._current_kl_coef() == 0.5


def test_no_gradient_steps_change_nothing(small_gac, diary_env):
    model = small_gac(diary_env())
    model.train(gradient_steps=0)
    assert model._n_updates == 0


def test_no_gradient_step_only_attaches_the_data_set(small_gac, make_dataset):
    model = small_gac().learn_offline(make_dataset(), 0)
    assert (model._n_updates, model.num_timesteps) == (0, 0)
    assert model.offline_buffer.n_trajectories == len(make_dataset().trajectories)


def test_offline_callbacks_find_rewards_of_zero(small_gac, make_dataset):
    seen = []
    small_gac().learn_offline(make_dataset(), 2, callback=lambda locals_, _: seen.append(locals_["rewards"].tolist()) or True)
    assert seen == [[0.0], [0.0]]


def test_a_call_that_ends_before_learning_starts_warns(small_gac, diary_env):
    with pytest.warns(UserWarning, match=r"learning starts after 50 timesteps, and learn\(\) ends after 20"):
        small_gac(diary_env(), learning_starts=50).learn(20)
