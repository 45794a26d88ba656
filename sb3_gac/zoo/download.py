"""Models of the Hugging Face Hub in the folders of the RL Zoo."""

from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.utils import get_latest_run_id

from sb3_gac.atomic import lock_folder, replace_when_complete
from sb3_gac.hub.push import load_from_hub


def run_name(env_id: str) -> str:
    """
    How the zoo names the files of an environment.

    :param env_id: Id of the environment.
    """
    return env_id.rpartition(":")[2].replace("/", "-")


def download_run(repo_id: str, env_id: str, folder: str | Path = "logs") -> Path:
    """
    Load a model from the Hugging Face Hub as the newest run of the RL Zoo, whose other commands then find it.

    The zoo's own command reads pickles of the repository, and wants files that only the zoo leaves there; this one needs
    no more than what :func:`~sb3_gac.hub.push.push_to_hub` has pushed, and trusts none of it.

    :param repo_id: The repository, ``"user/name"``.
    :param env_id: Id of the environment that the model acts in.
    :param folder: Folder of the zoo's runs.
    :return: The folder of the run.
    :raises HubError: when the Hub cannot be reached or refuses, or the repository holds no such model.
    :raises ValueError: when a file is damaged, or the model does not fit the environment.
    """
    name = run_name(env_id)
    runs = Path(folder) / "gac"
    env = gym.make(env_id)
    try:
        model = load_from_hub(repo_id, env=env, device="cpu")
        normalizer = model.get_vec_normalize_env()
        runs.mkdir(parents=True, exist_ok=True)
        with lock_folder(runs):
            run = runs / f"{name}_{get_latest_run_id(str(runs), name) + 1}"
            with replace_when_complete(run) as partial:
                settings = partial / name
                settings.mkdir(parents=True)
                model.save(partial / f"{name}.zip")
                if normalizer is not None:
                    normalizer.save(str(settings / "vecnormalize.pkl"))
                (settings / "config.yml").write_text(f"normalize: {str(normalizer is not None).lower()}\n", encoding="utf-8")
    finally:
        env.close()
    return run
