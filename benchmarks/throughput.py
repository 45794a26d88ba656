"""
How much CPU time GAC takes to learn and to act, on one thread.

    python -m benchmarks.throughput                    GAC's defaults: hidden layers of 256, 64 trajectories x 64 steps
    python -m benchmarks.throughput --hidden 128 --output benchmarks/results/throughput.csv

Times are CPU times of the process, so that a busy machine does not spoil them (much), and medians.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import Logger

from benchmarks.evaluation import make_progress_bar
from benchmarks.options import make_command_parser
from benchmarks.record import format_table, provenance, write_rows
from sb3_gac import GAC
from sb3_gac.data import OfflineDataset, Trajectory

# Sizes of hopper
OBS_DIM, ACTION_DIM, N_STEPS = 11, 3, 1000
N_TRAJECTORIES = 100
WARM_UPS = 5


def median_cpu_ms(function: Callable[[], object], repeats: int) -> float:
    """
    Median CPU time of a call, in milliseconds.

    :param function: what to call.
    :param repeats: number of calls that count; a few come before.
    """
    seconds = []
    for repeat in range(WARM_UPS + repeats):
        start = time.process_time()
        function()
        if repeat >= WARM_UPS:
            seconds.append(time.process_time() - start)
    return 1000 * float(np.median(seconds))


def make_dataset(n_trajectories: int = N_TRAJECTORIES, n_steps: int = N_STEPS) -> OfflineDataset:
    """
    Random trajectories of the size of hopper's.

    :param n_trajectories: number of trajectories.
    :param n_steps: steps of each.
    """
    rng = np.random.default_rng(0)
    trajectories = [
        Trajectory(
            rng.normal(size=(n_steps, OBS_DIM)).astype(np.float32),
            rng.uniform(-1, 1, size=(n_steps, ACTION_DIM)).astype(np.float32),
            rng.normal(size=n_steps),
            terminated=False,
            truncated=True,
        )
        for _ in range(n_trajectories)
    ]
    observation_space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    return OfflineDataset(trajectories, observation_space, spaces.Box(-1, 1, (ACTION_DIM,), np.float32), "random")


def measure(hidden: int, batch_size: int, n_steps: int, repeats: int, progress_bar: bool = False) -> list[dict[str, Any]]:
    """
    Rows of what was measured, its value and its unit.

    :param hidden: size of the two hidden layers of each network.
    :param batch_size: trajectories per gradient step.
    :param n_steps: steps drawn of each trajectory, half to encode and half to score.
    :param repeats: calls that each median is of.
    :param progress_bar: whether to show one.
    """
    baseline = peak_memory_mb()
    model = GAC(
        "MlpLatentPolicy",
        batch_size=batch_size,
        n_encode_steps=n_steps // 2,
        n_score_steps=n_steps - n_steps // 2,
        policy_kwargs={"net_arch": [hidden, hidden]},
        seed=0,
        device="cpu",
    )
    model.set_offline_data(make_dataset())
    model.set_logger(Logger(folder=None, output_formats=[]))
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    with make_progress_bar(9, "measuring", " medians", progress_bar) as bar:

        def record(what: str, value: float, unit: str) -> None:
            rows.append({"what": what, "value": round(value, 3), "unit": unit})
            bar.update()

        step_ms = median_cpu_ms(lambda: model.train(gradient_steps=1, batch_size=batch_size), repeats)
        size = f"{batch_size} trajectories x {n_steps} steps, hidden {hidden}"
        record(f"gradient step, {size}", step_ms, "CPU ms")
        record(f"training, {size}", 1000 * batch_size / step_ms, "trajectories per CPU second")
        for n_envs in (1, 8):
            observations = rng.normal(size=(n_envs, OBS_DIM)).astype(np.float32)
            _, state = model.predict(observations, deterministic=True)
            envs = f"{n_envs} environment{'s' if n_envs > 1 else ''}"
            for name, deterministic in (("exploiting", True), ("exploring", False)):
                keep, plan = _predictors(model, observations, state, deterministic)
                record(f"predict, keeping plans, {name}, {envs}", median_cpu_ms(keep, repeats), "CPU ms")
                record(f"predict, making plans, {name}, {envs}", median_cpu_ms(plan, repeats), "CPU ms")
    record_memory = {"memory before the model was made": baseline, "peak memory": peak_memory_mb()}
    rows += [{"what": what, "value": round(value), "unit": "MB"} for what, value in record_memory.items() if value]
    return rows


def _predictors(
    model: GAC, observations: Any, state: Any, deterministic: bool
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Calls of ``predict`` that keep the plans and that make them anew."""
    return (
        lambda: model.predict(observations, state, deterministic=deterministic),
        lambda: model.predict(observations, deterministic=deterministic),
    )


def peak_memory_mb() -> float:
    """Most memory that this process has held so far, in MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_command_parser("throughput", __doc__)
    parser.add_argument("--hidden", type=int, default=256, help="size of the hidden layers (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="trajectories (default: %(default)s)")
    parser.add_argument("--n-steps", type=int, default=64, help="steps of each trajectory (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=100, help="calls that each median is of (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="CSV file")
    given = parser.parse_args(arguments)
    th.set_num_threads(1)
    rows = measure(given.hidden, given.batch_size, given.n_steps, given.repeats, given.progress_bar)
    print(format_table([{**row, "value": f"{row['value']:,g}"} for row in rows]))
    if given.output is not None:
        made_by = provenance()
        write_rows(given.output, [{**row, **made_by} for row in rows])


if __name__ == "__main__":
    main()
