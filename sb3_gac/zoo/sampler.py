"""The search space of GAC for Optuna."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

NET_ARCHS = {"small": [64, 64], "medium": [128, 128], "big": [256, 256]}
# Names whose value is an exponent of two
POWERS = ("batch_size", "plan_dim")
POLICY_KWARGS = ("net_arch", "plan_dim", "plan_horizon")

# How many gradient steps are made per environment step is not searched: it is the budget that the others are compared at.


def suggest_learning(trial: "optuna.Trial") -> dict[str, Any]:
    """
    Suggest how large the model is and how it is learnt.

    :param trial: The trial.
    :return: What was suggested, for :func:`convert_gac_params`.
    """
    return {
        "learning_rate": trial.suggest_float("learning_rate", 2e-4, 4e-3, log=True),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 6, 9),
        "net_arch": trial.suggest_categorical("net_arch", list(NET_ARCHS)),
        "plan_dim_pow": trial.suggest_int("plan_dim_pow", 2, 5),
        "effective_horizon": trial.suggest_float("effective_horizon", 4.0, 64.0, log=True),
        "target_kl": trial.suggest_float("target_kl", 0.5, 8.0, log=True),
        "gamma": trial.suggest_categorical("gamma", [0.95, 0.98, 0.99, 0.995]),
        "gae_lambda": trial.suggest_categorical("gae_lambda", [0.8, 0.9, 0.95, 1.0]),
        "advantage_temperature": trial.suggest_categorical("advantage_temperature", [None, 0.25, 0.5, 1.0]),
        "plan_horizon": trial.suggest_categorical("plan_horizon", [None, 5, 10, 20]),
    }


def suggest_online(trial: "optuna.Trial") -> dict[str, Any]:
    """
    Suggest how rollouts explore.

    :param trial: The trial.
    :return: What was suggested, for :func:`convert_gac_params`.
    """
    return {"explore_ratio": trial.suggest_float("explore_ratio", 0.1, 1.0)}


def convert_gac_params(sampled_params: Mapping[str, Any]) -> dict[str, Any]:
    """
    Turn what was suggested, or some of it, into arguments of GAC.

    :param sampled_params: The parameters of a trial, by the names that Optuna knows.
    :return: Arguments of GAC, of which ``policy_kwargs`` is a dict.
    """
    params = dict(sampled_params)
    for name in POWERS:
        if f"{name}_pow" in params:
            params[name] = 2 ** params.pop(f"{name}_pow")
    if "net_arch" in params:
        params["net_arch"] = list(NET_ARCHS[params["net_arch"]])
    policy_kwargs = {name: params.pop(name) for name in POLICY_KWARGS if name in params}
    return {**params, "policy_kwargs": policy_kwargs} if policy_kwargs else params


def sample_gac_params(trial: "optuna.Trial", n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
    """
    Sample hyper-parameters of GAC, as the RL Zoo has it done.

    :param trial: The trial.
    :param n_actions: Not used.
    :param n_envs: Not used.
    :param additional_args: Not used.
    :return: Arguments of GAC.
    """
    return convert_gac_params({**suggest_learning(trial), **suggest_online(trial)})
