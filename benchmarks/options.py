"""What a run is asked to do, in Python and on the command line."""

import argparse
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.envs import TASKS
from benchmarks.hyperparam import HYPERPARAMS, parse_params

ALGOS = {"gac": "GAC", "bc": "behaviour cloning", "bc10": "10 % behaviour cloning"}
MODES = {"offline": ("offline",), "online": ("online",), "offline-to-online": ("offline", "online")}
N_EVALUATIONS = 8
CURVE_EPISODES = 20


@dataclass(frozen=True)
class Options:
    """
    What to train, how, and where to leave it.

    :param env: name of a benchmark task or Gymnasium id; None for the environment of a Minari data set.
    :param data: Minari id or path, path of a D4RL file; None for the regenerated data set of a benchmark task.
    :param algo: "gac", "bc" or "bc10", or one of the peers.
    :param mode: "offline", "online" or "offline-to-online"; None for what the hyper-parameters and the data allow.
    :param seed: of the training; the environments of the evaluations are seeded apart from it.
    :param device: as in SB3.
    :param params: hyper-parameters that take the place of those of the file.
    :param hyperparams: the file; the peers do not read it.
    :param eval_episodes: episodes of the evaluation at the end of each phase.
    :param eval_freq: timesteps between the smaller evaluations of the learning curve: gradient steps offline, environment
        steps online. None for an eighth of each phase, 0 for no learning curve.
    :param target_return: return asked for in the evaluations; None for the largest.
    :param output: folder of the run; None for one under ``runs`` named after what is run.
    :param results: CSV file of many runs, to which the results are added.
    :param progress_bar: whether to show progress.
    :param verbose: as in SB3; 1 prints what is logged.
    """

    env: str | None = None
    data: str | None = None
    algo: str = "gac"
    mode: str | None = None
    seed: int = 0
    device: str = "auto"
    params: dict[str, Any] = field(default_factory=dict)
    hyperparams: Path = HYPERPARAMS
    eval_episodes: int = 50
    eval_freq: int | None = None
    target_return: float | None = None
    output: Path | None = None
    results: Path | None = None
    progress_bar: bool = False
    verbose: int = 0

    @property
    def curve_episodes(self) -> int:
        """Episodes of the smaller evaluations."""
        return min(CURVE_EPISODES, self.eval_episodes)

    def choose_eval_freq(self, total: int) -> int:
        """
        Timesteps between the smaller evaluations of a phase; 0 for none.

        :param total: timesteps of the phase.
        """
        return max(total // N_EVALUATIONS, 1) if self.eval_freq is None else self.eval_freq


def choose_phases(options: Options, params: dict[str, Any], has_data: bool) -> list[str]:
    """
    The phases of a run, in order.

    :param options: its options.
    :param params: its hyper-parameters.
    :param has_data: whether there is a data set.
    :raises ValueError: when there is nothing to do, or a phase that was asked for cannot be.
    """
    totals = {"offline": params["offline_gradient_steps"], "online": params["n_timesteps"]}
    possible = [phase for phase, total in totals.items() if total > 0 and (phase == "online" or has_data)]
    if options.algo != "gac":
        possible = [phase for phase in possible if phase == "offline"]
    wanted = possible if options.mode is None else list(MODES[options.mode])
    if not wanted or not set(wanted) <= set(possible):
        raise ValueError(
            f"{options.algo} cannot be trained {options.mode or 'at all'}: there is {'a' if has_data else 'no'} data set, "
            f"offline_gradient_steps is {totals['offline']}, n_timesteps is {totals['online']}"
        )
    return wanted


def make_command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """
    A parser for one of the commands, which knows ``--no-progress``.

    :param name: of its module.
    :param description: docstring of its module.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-progress", dest="progress_bar", action="store_false", help="show no progress bar")
    return parser


def add_run_options(parser: argparse.ArgumentParser, params_help: str) -> None:
    """
    Add the options of a run that those of GAC and of its peers share.

    :param parser: is given them.
    :param params_help: what ``-params`` takes.
    """
    parser.add_argument("--env", help=f"benchmark task or Gymnasium id, or 'data'; the tasks are {', '.join(TASKS)}")
    parser.add_argument("--data", help="Minari id or path, or a D4RL .hdf5 file (default: the task's, made if need be)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "-params", "--hyperparams", dest="params", nargs="+", default=[], metavar="KEY:VALUE", help=params_help
    )
    parser.add_argument("--eval-episodes", type=int, default=50, help="at the end of each phase (default: %(default)s)")
    parser.add_argument(
        "--eval-freq", type=int, help="timesteps between evaluations of the learning curve (default: an eighth; 0: none)"
    )
    parser.add_argument("--target-return", type=float, help="return to ask for in evaluations (default: the largest)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: under runs/)")
    parser.add_argument("--results", type=Path, help="CSV file to add the results to")
    parser.add_argument("--num-threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")


def parse_options(given: argparse.Namespace) -> Options:
    """
    Options from the command line; those that the command does not have are left as they are.

    :param given: what a parser with :func:`add_run_options` has parsed.
    :raises ValueError: when a hyper-parameter is not written as ``key:value``.
    """
    known = {field.name for field in fields(Options)}
    options = {name: value for name, value in vars(given).items() if name in known}
    return Options(**{**options, "params": parse_params(given.params)})
