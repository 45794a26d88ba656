"""
How much CPU time GAC takes to learn and to act, on one thread.

    python -m benchmarks.throughput                    hidden layers of 256, 64 trajectories x 64 steps
    python -m benchmarks.throughput --hidden 128 --output benchmarks/results/throughput.csv

Times are medians of the CPU times of the process, so that a busy machine does not spoil them (much).
"""

import argparse
import resource
import time
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import Logger

from benchmarks.table import append_row, format_table, provenance
from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, Trajectory

# Sizes of hopper
OBS_DIM, ACTION_DIM, N_STEPS = 11, 3, 1000
N_TRAJECTORIES = 100
WARM_UPS = 5


def median_cpu_ms(function: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a number of calls, in milliseconds; a few calls before them do not count."""
    seconds = timeit.repeat(function, timer=time.process_time, number=1, repeat=WARM_UPS + repeats)
    return 1000 * float(np.median(seconds[WARM_UPS:]))


def make_dataset() -> OfflineDataset:
    """Random trajectories of the size of hopper's."""
    rng = np.random.default_rng(0)
    trajectories = []
    for _ in range(N_TRAJECTORIES):
        observations = rng.normal(size=(N_STEPS, OBS_DIM)).astype(np.float32)
        actions = rng.uniform(-1, 1, size=(N_STEPS, ACTION_DIM)).astype(np.float32)
        trajectories.append(Trajectory(observations, actions, rng.normal(size=N_STEPS), terminated=False, truncated=True))
    observation_space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    return OfflineDataset(trajectories, observation_space, spaces.Box(-1, 1, (ACTION_DIM,), np.float32), "random")


def measure(hidden: int, batch_size: int, repeats: int) -> list[dict[str, Any]]:
    """
    Rows of what was measured, its value and its unit.

    :param hidden: Size of the two hidden layers of each network.
    :param batch_size: Segments per gradient step.
    :param repeats: Calls that each median is of.
    """
    net_arch = {"net_arch": [hidden, hidden]}
    model = GAC("MlpLatentPolicy", batch_size=batch_size, policy_kwargs=net_arch, seed=0, device="cpu")
    model.set_offline_data(make_dataset())
    model.set_logger(Logger(folder=None, output_formats=[]))
    size = f"{batch_size} segments, hidden {hidden}"
    step_ms = median_cpu_ms(lambda: model.train(gradient_steps=1, batch_size=batch_size), repeats)
    rows = [(f"gradient step, {size}", step_ms, "CPU ms")]
    rows.append((f"training, {size}", 1000 * batch_size / step_ms, "trajectories per CPU second"))
    rng = np.random.default_rng(0)
    for n_envs in (1, 8):
        observations = rng.normal(size=(n_envs, OBS_DIM)).astype(np.float32)
        _, state = model.predict(observations, deterministic=True)
        for name, deterministic in (("exploiting", True), ("exploring", False)):
            predict = partial(model.predict, observations, deterministic=deterministic)
            where = f"{name}, {n_envs} environment{'s' if n_envs > 1 else ''}"
            rows.append((f"predict, keeping plans, {where}", median_cpu_ms(partial(predict, state), repeats), "CPU ms"))
            rows.append((f"predict, making plans, {where}", median_cpu_ms(predict, repeats), "CPU ms"))
    rows.append(("peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "MB"))  # of Linux
    return [{"what": what, "value": round(value, 3), "unit": unit} for what, value, unit in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser(
        "benchmarks.throughput", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, default, text in (
        ("hidden", 256, "size of the hidden layers"),
        ("batch-size", 64, "trajectories"),
        ("repeats", 100, "calls that each median is of"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="CSV file to add the rows to")
    given = parser.parse_args(arguments)
    th.set_num_threads(1)
    rows = measure(given.hidden, given.batch_size, given.repeats)
    print(format_table([{**row, "value": f"{row['value']:,g}"} for row in rows]))
    made_by = provenance()
    for row in rows if given.output is not None else ():
        append_row(given.output, {**row, **made_by})


if __name__ == "__main__":
    main()
