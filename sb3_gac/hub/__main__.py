"""
Push a saved model to the Hugging Face Hub, or pull one from it.

    python -m sb3_gac.hub push runs/model user/gac-Pendulum-v1 --env Pendulum-v1
    python -m sb3_gac.hub pull user/gac-Pendulum-v1 --output pendulum
"""

import argparse
import importlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym

from sb3_gac.hub.push import load_archive, load_from_hub, push_to_hub
from sb3_gac.hub.safe import load_safe, save_safe
from sb3_gac.hub.transfer import HubError


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run a command.

    :param arguments: Arguments of the command line.
    """
    options = make_parser().parse_args(arguments)
    for module in options.import_modules:
        importlib.import_module(module)
    try:
        push(options) if options.command == "push" else pull(options)
    except (HubError, ImportError, OSError, ValueError, gym.error.Error) as error:
        sys.exit(f"error: {error}")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m sb3_gac.hub", description="Share models on the Hugging Face Hub.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--revision", help="branch, tag or commit (default: the main branch)")
    common.add_argument("--trust-pickle", action="store_true", help="load archives of SB3: they can run any code")
    common.add_argument("--endpoint", help="address of the Hub (default: HF_ENDPOINT, or huggingface.co)")
    common.add_argument(
        "--import", dest="import_modules", action="append", default=[], help="module that registers the environment"
    )

    pushing = commands.add_parser("push", parents=[common], help="evaluate a saved model and share it")
    pushing.add_argument("model", type=Path, help="folder of save_safe, or archive of SB3 (with --trust-pickle)")
    pushing.add_argument("repo_id", help="user/name")
    pushing.add_argument("--vec-normalize", type=Path, help="statistics of VecNormalize.save that belong to an archive of SB3")
    pushing.add_argument("--env", required=True, help="id of the environment to evaluate in")
    pushing.add_argument("--dataset", help="Minari id or path of the data set learnt from")
    pushing.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    pushing.add_argument("--episodes", type=int, default=10, help="episodes of the evaluation (default: 10)")
    pushing.add_argument("--seed", type=int, default=0, help="seed of the evaluation")
    pushing.add_argument("--explore", action="store_true", help="evaluate the exploring policy, not the exploiting one")
    pushing.add_argument("--learning-curve", type=Path, help="evaluations.npz, or folder of it or of monitor.csv files")
    pushing.add_argument("--reference-returns", type=float, nargs=2, metavar=("LOW", "HIGH"), help="0 and 100 of the score")
    pushing.add_argument("--license", help="licence of the model, as the Hub names it: mit")
    pushing.add_argument("--no-video", action="store_true", help="film no episode")

    pulling = commands.add_parser("pull", parents=[common], help="download a model and save it without pickles")
    pulling.add_argument("repo_id", help="user/name")
    pulling.add_argument("--output", type=Path, help="folder to save it in (default: the name of the repository)")
    return parser


def push(options: argparse.Namespace) -> None:
    """
    Evaluate a saved model and share it.

    :param options: What the parser returned.
    """
    env = gym.make(options.env)
    if options.model.is_dir() and options.vec_normalize is not None:
        raise ValueError(f"--vec-normalize is for an archive of SB3: the folder {options.model} has its statistics")
    if options.vec_normalize is not None and not options.vec_normalize.is_file():
        raise FileNotFoundError(f"--vec-normalize: no such file: {options.vec_normalize}")
    if options.model.is_dir():
        model = load_safe(options.model, env)
    elif not zipfile.is_zipfile(options.model):
        raise ValueError(f"{options.model} is neither a folder of save_safe nor an archive of SB3")
    elif not options.trust_pickle:
        raise ValueError(f"{options.model} is an archive of SB3, a pickle: it is loaded with --trust-pickle only")
    else:
        model = load_archive(options.model, options.vec_normalize, env)
    address = push_to_hub(
        model,
        options.repo_id,
        env,
        dataset=options.dataset,
        private=options.private,
        revision=options.revision,
        n_eval_episodes=options.episodes,
        seed=options.seed,
        deterministic=not options.explore,
        reference_returns=None if options.reference_returns is None else tuple(options.reference_returns),
        learning_curve=options.learning_curve,
        video_steps=0 if options.no_video else 1000,
        license=options.license,
        endpoint=options.endpoint,
        progress_bar=True,
    )
    print(address)


def pull(options: argparse.Namespace) -> None:
    """
    Download a model and save it without pickles.

    :param options: What the parser returned.
    """
    model = load_from_hub(
        options.repo_id, options.revision, trust_pickle=options.trust_pickle, endpoint=options.endpoint, device="cpu"
    )
    output = options.output or Path(options.repo_id.split("/")[-1])
    print(save_safe(model, output))


if __name__ == "__main__":
    main()
