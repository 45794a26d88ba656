"""
Push a saved model to the Hugging Face Hub, or pull one from it.

    python -m sb3_gac.hub push runs/model user/gac-Pendulum-v1 --env Pendulum-v1
    python -m sb3_gac.hub pull user/gac-Pendulum-v1 --output pendulum
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym

from sb3_gac.hub.push import load_from_hub, push_to_hub
from sb3_gac.hub.safe import load_safe, save_safe
from sb3_gac.hub.transfer import HubError


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run a command.

    :param arguments: Arguments of the command line.
    """
    options = vars(make_parser().parse_args(arguments))
    command, modules = options.pop("command"), options.pop("import_modules")
    for module in modules:
        importlib.import_module(module)
    try:
        print(push(**options) if command == "push" else pull(**options))
    except (HubError, ImportError, OSError, ValueError, gym.error.Error) as error:
        sys.exit(f"error: {error}")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m sb3_gac.hub", description="Share models on the Hugging Face Hub.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--revision", help="branch, tag or commit (default: the main branch)")
    common.add_argument("--endpoint", help="address of the Hub (default: HF_ENDPOINT, or huggingface.co)")
    common.add_argument("--import", dest="import_modules", action="append", default=[], help="module that registers the env")

    pushing = commands.add_parser("push", parents=[common], help="evaluate a saved model and share it")
    pushing.add_argument("model", type=Path, help="folder of save_safe")
    pushing.add_argument("repo_id", help="user/name")
    pushing.add_argument("--env", required=True, help="id of the environment to evaluate in")
    pushing.add_argument("--dataset", help="name of the data set learnt from")
    pushing.add_argument("--learning-curve", type=Path, help="evaluations.npz, progress.csv, or the folder of one")
    pushing.add_argument("--episodes", dest="n_eval_episodes", type=int, default=10, help="of the evaluation (default: 10)")
    pushing.add_argument("--seed", type=int, default=0, help="seed of the evaluation")
    pushing.add_argument("--video-steps", type=int, default=1000, help="steps of the film, 0 for none (default: 1000)")
    pushing.add_argument("--license", help="licence of the model, as the Hub names it: mit")
    pushing.add_argument("--private", action="store_true", default=None, help="make a new repository private")

    pulling = commands.add_parser("pull", parents=[common], help="download a model and save it")
    pulling.add_argument("repo_id", help="user/name")
    pulling.add_argument("--output", type=Path, help="folder to save it in (default: the name of the repository)")
    return parser


def push(model: Path, repo_id: str, env: str, **options: object) -> str:
    """
    Evaluate a saved model and share it.

    :param model: Folder of :func:`~sb3_gac.hub.safe.save_safe`.
    :param repo_id: The repository.
    :param env: Id of the environment.
    :param options: See :func:`~sb3_gac.hub.push.push_to_hub`.
    :return: Address of the commit.
    """
    return push_to_hub(load_safe(model, gym.make(env)), repo_id, env, **options)  # type: ignore[arg-type]


def pull(repo_id: str, output: Path | None, revision: str | None, endpoint: str | None) -> Path:
    """
    Download a model and save it.

    :param repo_id: The repository.
    :param output: The folder to save it in; by default the name of the repository.
    :param revision: Branch, tag or commit.
    :param endpoint: Address of the Hub.
    :return: The folder.
    """
    model = load_from_hub(repo_id, revision, device="cpu", endpoint=endpoint)
    return save_safe(model, output or repo_id.split("/")[-1])


if __name__ == "__main__":
    main()
