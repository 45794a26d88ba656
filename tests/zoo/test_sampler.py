from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("optuna")

import optuna

from sb3_gac import GAC
from sb3_gac.data import OfflineDataset
from sb3_gac.zoo.sampler import (
    NET_ARCHS,
    convert_gac_params,
    sample_gac_params,
    suggest_learning,
    suggest_online,
)

SMALLEST: dict[str, Any] = {
    "learning_rate": 1e-3,
    "batch_size_pow": 6,
    "net_arch": "small",
    "plan_dim_pow": 2,
    "effective_horizon": 4.0,
    "target_kl": 0.5,
    "plan_horizon": None,
    "gamma": 0.98,
    "gae_lambda": 1.0,
    "advantage_temperature": None,
    "explore_ratio": 0.1,
}


def test_what_is_suggested_is_converted() -> None:
    params = sample_gac_params(optuna.trial.FixedTrial(SMALLEST), 1, 1, {})
    assert params == {
        "learning_rate": 1e-3,
        "batch_size": 64,
        "effective_horizon": 4.0,
        "target_kl": 0.5,
        "gamma": 0.98,
        "gae_lambda": 1.0,
        "advantage_temperature": None,
        "policy_kwargs": {
            "net_arch": [64, 64],
            "plan_dim": 4,
            "plan_horizon": None,
        },
        "explore_ratio": 0.1,
    }
    # The zoo makes a trial's settings again from what its study has kept
    assert convert_gac_params(SMALLEST) == params


def test_a_part_can_be_converted() -> None:
    assert convert_gac_params({"gae_lambda": 0.5}) == {"gae_lambda": 0.5}
    params = convert_gac_params({"net_arch": "big"})
    params["policy_kwargs"]["net_arch"].append(1)
    assert NET_ARCHS["big"] == [256, 256]


@pytest.mark.parametrize("number", range(6))
def test_gac_accepts_whatever_is_suggested(number: int, make_dataset: Callable[..., OfflineDataset]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    trial = study.ask()
    params = {**suggest_learning(trial), **suggest_online(trial)}
    env = gym.make("Pendulum-v1")
    data = make_dataset(env.observation_space, env.action_space)
    often = dict(learning_starts=2, train_freq=1, gradient_steps=1)
    model = GAC("MlpLatentPolicy", env, device="cpu", seed=0, **often, **convert_gac_params(params))
    model.learn_offline(data, gradient_steps=1)
    model.learn(4)
    assert model._n_updates > 1
    assert np.isfinite(model.predict(np.zeros(3, np.float32), deterministic=True)[0]).all()
