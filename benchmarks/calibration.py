"""
Ask a trained model for returns, and see what it achieves.

    python -m benchmarks.calibration --env maze2d-umaze --model runs/some/model_offline.zip --targets 0 50 100 150 200
    python -m benchmarks.calibration --env maze2d-umaze --model MODEL.zip --data gac/maze2d-umaze-v0 --results runs/asked.csv

Without --targets they are quantiles of the returns in the data set, and half as much again as its best.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from benchmarks.envs import Task, find_task
from benchmarks.evaluation import EVALUATION_SEED, evaluate, make_eval_env, make_progress_bar
from benchmarks.options import make_command_parser
from benchmarks.record import format_range, format_table, provenance, write_rows
from sb3_gac import GAC
from sb3_gac.data import load_dataset
from sb3_gac.plots.interval import bootstrap_interval

QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)


def calibrate(
    model: GAC, task: Task, targets: Sequence[float], n_episodes: int = 20, progress_bar: bool = False
) -> list[dict[str, Any]]:
    """
    What a model returns when it is asked for each of some returns, from the same starts.

    :param model: a trained model.
    :param task: where it acts.
    :param targets: returns to ask for, in env units.
    :param n_episodes: episodes for each.
    :param progress_bar: whether to show one.
    :return: a row for each: task, asked, mean_return, return_low, return_high (95 % over the episodes), n_episodes.
    """
    env = make_eval_env(task, n_episodes)
    rows: list[dict[str, Any]] = []
    try:
        with make_progress_bar(len(targets), "asking", " returns", progress_bar) as bar:
            for target in targets:
                returns = evaluate(model, env, n_episodes, EVALUATION_SEED, target_return=target)
                interval = bootstrap_interval(returns)
                rows.append(
                    {
                        "task": task.name,
                        "asked": float(target),
                        "mean_return": interval.mean,
                        "return_low": interval.low,
                        "return_high": interval.high,
                        "n_episodes": n_episodes,
                    }
                )
                bar.update()
    finally:
        env.close()
    return rows


def choose_targets(returns: Sequence[float]) -> list[float]:
    """
    Returns to ask for: quantiles of those seen, and more than was ever seen.

    :param returns: of the trajectories of a data set.
    """
    quantiles = np.quantile(np.asarray(returns), QUANTILES)
    beyond = quantiles[-1] + 0.5 * (quantiles[-1] - quantiles[0])
    return sorted({float(target) for target in (*quantiles, beyond)})


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_command_parser("calibration", __doc__)
    parser.add_argument("--model", required=True, help="zip file of a trained GAC")
    parser.add_argument("--env", help="benchmark task or Gymnasium id")
    parser.add_argument("--data", help="Minari id or path, or a D4RL .hdf5 file, to take the targets from")
    parser.add_argument("--targets", nargs="+", type=float, help="returns to ask for, in env units")
    parser.add_argument("--eval-episodes", type=int, default=20, help="for each (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="CSV file to add the rows to")
    given = parser.parse_args(arguments)
    th.set_num_threads(1)
    try:
        if given.targets is None and given.data is None:
            raise ValueError("say which returns to ask for, by --targets or by --data")
        task = find_task(given.env, given.data)
        targets = given.targets
        if targets is None:
            dataset = load_dataset(given.data, action_space=task.make_env().action_space)
            targets = choose_targets([trajectory.total_return for trajectory in dataset.trajectories])
        model = GAC.load(given.model, device="cpu")
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    label = {"model": Path(given.model).name, "seed": model.seed}
    rows = calibrate(model, task, targets, given.eval_episodes, given.progress_bar)
    if given.results is not None:
        made_by = provenance()
        write_rows(given.results, [{**label, **row, **made_by} for row in rows], append=True)
    print(
        format_table(
            [
                {
                    "task": row["task"],
                    "asked": row["asked"],
                    "achieved": row["mean_return"],
                    "95 %": format_range(row["return_low"], row["return_high"]),
                }
                for row in rows
            ]
        )
    )


if __name__ == "__main__":
    main()
