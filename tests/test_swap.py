"""Scripts written for SAC or TQC, with GAC in their place."""

import warnings

import numpy as np
import pytest
from stable_baselines3 import SAC

from sb3_gac import GAC

FOREIGN = dict(
    tau=0.01,
    ent_coef="auto_0.1",
    target_update_interval=2,
    target_entropy=-2.0,
    n_steps=3,
    use_sde=True,
    sde_sample_freq=4,
    use_sde_at_warmup=True,
    top_quantiles_to_drop_per_net=1,
)
FOREIGN_POLICY = dict(
    share_features_extractor=True, n_quantiles=10, use_sde=True, log_std_init=-2.0, use_expln=True, clip_mean=1.0
)


def small(**policy_kwargs) -> dict:
    """Arguments that both algorithms know; SAC writes into the dict of its policy's."""
    return dict(learning_starts=5, batch_size=4, seed=0, device="cpu", policy_kwargs=dict(net_arch=[16], **policy_kwargs))


@pytest.mark.parametrize("algorithm", [SAC, GAC])
def test_one_script_for_both(diary_env, tmp_path, algorithm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tau and ent_coef
        model = algorithm("MlpPolicy", diary_env(), gamma=0.98, tau=0.02, ent_coef="auto", train_freq=1, **small()).learn(20)
    model.save(tmp_path / "model")
    model = algorithm.load(tmp_path / "model", env=diary_env(), tau=0.01)
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 40
    assert model.predict(model.get_env().reset(), deterministic=True)[0].shape == (1, 2)


def test_arguments_without_effect_are_taken_and_named(diary_env):
    with pytest.warns(UserWarning, match="tau, ent_coef, .*, top_quantiles_to_drop_per_net have no effect"):
        model = GAC("MlpPolicy", diary_env(), **FOREIGN, **small()).learn(10)
    plain = GAC("MlpPolicy", diary_env(), **small()).learn(10)
    np.testing.assert_array_equal(model.replay_buffer.actions[:10], plain.replay_buffer.actions[:10])


def test_policy_arguments_without_effect_are_taken_and_named(diary_env, tmp_path):
    with pytest.warns(UserWarning, match="share_features_extractor, n_quantiles, .* have no effect"):
        model = GAC("MlpPolicy", diary_env(), **small(**FOREIGN_POLICY))
    model.save(tmp_path / "model")
    assert GAC.load(tmp_path / "model").policy_kwargs == model.policy_kwargs
    model.policy.save(tmp_path / "policy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        type(model.policy).load(tmp_path / "policy")


@pytest.mark.parametrize("owner", ["GAC", "PlanActor"])
def test_arguments_that_nobody_knows_are_refused(diary_env, owner):
    wrong = dict(batch_sise=4) if owner == "GAC" else dict(policy_kwargs=dict(net_arsh=[16]))
    with pytest.raises(TypeError, match=rf"{owner}.__init__\(\) got an unexpected keyword argument '(batch_sise|net_arsh)'"):
        GAC("MlpPolicy", diary_env(), **wrong)


def test_the_critic_is_part_of_the_actor(diary_env):
    model = GAC("MlpPolicy", diary_env(), **small())
    assert model.critic is model.critic_target is model.actor
    assert model.critic.features_extractor is model.actor.features_extractor
