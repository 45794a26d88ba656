"""
The commands of the RL Zoo, with GAC among the algorithms.

    python -m sb3_gac.zoo train --env Pendulum-v1                      learn online
    python -m sb3_gac.zoo train --env Hopper-v5 --offline              learn from a data set, then online
    python -m sb3_gac.zoo train --env Hopper-v5 -i logs/gac/Hopper-v5_1/Hopper-v5.zip        go on
    python -m sb3_gac.zoo enjoy --env Hopper-v5 --no-render            evaluate; without --no-render watch
    python -m sb3_gac.zoo record-video --env Hopper-v5
    python -m sb3_gac.zoo tune --env Pendulum-v1 --n-trials 50 --n-evaluations 4
    python -m sb3_gac.zoo plots train --env Hopper-v5 -o curve.png
    python -m sb3_gac.zoo load-from-hub --env Pendulum-v1 -orga user   a run from user/gac-Pendulum-v1, without its pickles

Every option of the zoo works, see `python -m sb3_gac.zoo train --help`. Unless told otherwise the algorithm is gac, its
hyper-parameters are those of this package, and the folder is logs. `--offline` takes the hyper-parameters with an offline
phase; `plots` is followed by train, all or from-file; `plots train` writes a file, `-o FILE`, and needs no display.
"""

import argparse
import contextlib
import importlib
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gymnasium as gym

from sb3_gac.hub.push import HubError
from sb3_gac.plots.figure import save_figure
from sb3_gac.zoo.download import download_run, run_name
from sb3_gac.zoo.registration import HYPERPARAMS, OFFLINE_HYPERPARAMS, import_zoo, register

COMMANDS = ("train", "tune", "enjoy", "record-video", "plots", "load-from-hub")
PLOTS = {"train": "plot_train", "all": "all_plots", "from-file": "plot_from_file"}


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: Those of the command line if None.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sb3_gac.zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="options of the zoo's command")
    given = parser.parse_args(arguments)
    try:
        register()
        _find_env(given.arguments)
        run = _find(given.command, given.arguments)
    except (ImportError, ValueError) as error:
        parser.error(str(error))
    run()


def _find_env(arguments: list[str]) -> None:
    """Gymnasium knows the environments of Gymnasium-Robotics once that is imported."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--env")
    given, _ = parser.parse_known_args(arguments)
    if given.env is not None and given.env not in gym.registry:
        with contextlib.suppress(ImportError):
            importlib.import_module("gymnasium_robotics")


def _find(command: str, arguments: list[str]) -> Callable[[], None]:
    """What to call for a command; what is imported for it is imported now."""
    if command == "plots":
        return _find_plot(arguments)
    if command == "load-from-hub":
        return lambda: _load_from_hub(arguments)
    if command == "record-video":  # all its code is under `if __name__ == "__main__"`
        return lambda: _call(
            lambda: runpy.run_module("rl_zoo3.record_video", run_name="__main__"), command, _with_folder(arguments)
        )
    if command == "enjoy":
        enjoy = import_zoo("rl_zoo3.enjoy").enjoy
        return lambda: _call(enjoy, command, _with_folder(arguments))
    arguments = _with_hyperparams(arguments)
    if command == "tune":
        arguments = ["--optimize-hyperparameters", *arguments]
    train = import_zoo("rl_zoo3.train").train
    return lambda: _call(train, command, arguments)


def _find_plot(arguments: list[str]) -> Callable[[], None]:
    kind, *rest = arguments or [""]
    if kind not in PLOTS:
        raise ValueError(f"plots is followed by {', '.join(PLOTS)}, not by {kind!r}")
    plot = getattr(import_zoo("rl_zoo3.plots"), PLOTS[kind])
    if kind == "from-file":
        return lambda: _call(plot, f"plots {kind}", rest)
    if kind == "all":
        return lambda: _call(plot, f"plots {kind}", ["--algos", "gac", "--exp-folders", "logs", *rest])
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, default=Path("training.png"))
    given, rest = parser.parse_known_args(rest)

    def draw() -> None:
        import matplotlib
        from matplotlib import pyplot

        matplotlib.use("Agg")
        _call(plot, f"plots {kind}", ["--algo", "gac", "--exp-folder", "logs", *rest])
        print(save_figure(pyplot.gcf(), given.output))

    return draw


def _load_from_hub(arguments: list[str]) -> None:
    """The options are those that the zoo's command has; it knows the algorithms of the zoo only, and needs their pickles."""
    parser = argparse.ArgumentParser(prog="python -m sb3_gac.zoo load-from-hub")
    parser.add_argument("--env", required=True, help="id of the environment")
    parser.add_argument("-f", "--folder", default="logs", help="folder of the runs (default: logs)")
    parser.add_argument("-orga", "--organization", required=True, help="user or organisation on the Hub")
    parser.add_argument("-name", "--repo-name", help="name of the repository (default: gac- and the environment)")
    given = parser.parse_args(arguments)
    repo_name = given.repo_name or f"gac-{run_name(given.env)}"
    try:
        print(download_run(f"{given.organization}/{repo_name}", given.env, given.folder))
    except (HubError, ImportError, OSError, ValueError, gym.error.Error) as error:
        sys.exit(f"error: {error}")


def _with_hyperparams(arguments: list[str]) -> list[str]:
    """What the user says comes last, and counts."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algo", default="gac")
    parser.add_argument("--offline", action="store_true")
    given, rest = parser.parse_known_args(arguments)
    if given.algo != "gac":
        if given.offline:
            raise ValueError(f"--offline is for gac, not for {given.algo}")
        return ["--algo", given.algo, *rest]
    return ["--algo", "gac", "--conf-file", str(OFFLINE_HYPERPARAMS if given.offline else HYPERPARAMS), *rest]


def _with_folder(arguments: list[str]) -> list[str]:
    return ["--algo", "gac", "-f", "logs", *arguments]


def _call(function: Callable[[], object], command: str, arguments: Sequence[str]) -> None:
    """Call a command of the zoo, which reads ``sys.argv``."""
    before = sys.argv
    sys.argv = [f"python -m sb3_gac.zoo {command}", *arguments]
    try:
        function()
    finally:
        sys.argv = before


if __name__ == "__main__":
    main()
