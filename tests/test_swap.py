"""Scripts written for SAC, with GAC in its place."""

import pytest
from stable_baselines3 import SAC

from sb3_gac import GAC


def small(**policy_kwargs) -> dict:
    """Arguments that both algorithms know; SAC writes into the dict of its policy's."""
    return dict(learning_starts=5, batch_size=4, seed=0, device="cpu", policy_kwargs=dict(net_arch=[16], **policy_kwargs))


@pytest.mark.parametrize("algorithm", [SAC, GAC])
def test_one_script_for_both(diary_env, tmp_path, algorithm):
    model = algorithm("MlpPolicy", diary_env(), gamma=0.98, train_freq=1, gradient_steps=1, **small()).learn(20)
    model.save(tmp_path / "model")
    model = algorithm.load(tmp_path / "model", env=diary_env())
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 40
    assert model.predict(model.get_env().reset(), deterministic=True)[0].shape == (1, 2)


@pytest.mark.parametrize("name", ["tau", "ent_coef", "target_update_interval", "use_sde", "top_quantiles_to_drop_per_net"])
def test_arguments_of_sac_and_tqc_are_ignored_with_a_warning(diary_env, name):
    with pytest.warns(UserWarning, match=f"GAC ignores {name}: arguments of SAC or TQC"):
        GAC("MlpPolicy", diary_env(), **{name: 1}, **small()).learn(10)


@pytest.mark.parametrize("name", ["share_features_extractor", "n_quantiles", "use_expln"])
def test_arguments_of_their_policies_are_ignored_with_a_warning(diary_env, name):
    with pytest.warns(UserWarning, match=f"GAC ignores {name}: arguments of SAC or TQC"):
        GAC("MlpPolicy", diary_env(), **small(**{name: 1}))


@pytest.mark.parametrize("name", ["clip_range", "batch_sise"])
def test_arguments_that_gac_does_not_know_are_refused(diary_env, name):
    with pytest.raises(TypeError, match=rf"GAC.__init__\(\) got an unexpected keyword argument '{name}'"):
        GAC("MlpPolicy", diary_env(), **{name: 1}, **small())


@pytest.mark.parametrize("name", ["ortho_init", "net_arsh"])
def test_arguments_that_its_policy_does_not_know_are_refused(diary_env, name):
    with pytest.raises(TypeError, match=rf"Planner.__init__\(\) got an unexpected keyword argument '{name}'"):
        GAC("MlpPolicy", diary_env(), **small(**{name: 1}))


def test_actor_and_critic_are_the_policy(diary_env):
    model = GAC("MlpPolicy", diary_env(), **small())
    assert model.critic is model.critic_target is model.actor is model.policy is model.policy.actor
