"""
Train and evaluate a peer of GAC, an algorithm of d3rlpy, on the same trajectories and in the same environments.

    python -m benchmarks.peers --algo iql --env maze2d-umaze --seed 1             step rewards
    python -m benchmarks.peers --algo iql-return --env maze2d-umaze --seed 1      total return on the last step, zeros before
    python -m benchmarks.peers --algo dt-return --env hopper-medium-replay --data some/file.hdf5 -params n_updates:20000

d3rlpy pins an old Gymnasium. ``tox -e peers -- python -m benchmarks.peers ...`` makes an environment with d3rlpy beside the
Gymnasium that GAC is evaluated in. The rows of results are those of ``python -m benchmarks.train``.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from benchmarks.evaluation import Predictor, bootstrap_interval, evaluate, make_eval_env
from benchmarks.extra import require
from benchmarks.hyperparam import dump_yaml, parse_params
from benchmarks.peer import (
    PEERS,
    LastStepVecEnv,
    ReactivePolicy,
    SequencePolicy,
    make_algorithm,
    make_buffer,
    require_d3rlpy,
    visible_trajectories,
)
from benchmarks.plots import CurvePoint, plot_learning_curve
from benchmarks.record import provenance, write_rows
from benchmarks.train import (
    CURVE_EPISODES,
    EVALUATION_SEED,
    N_EVALUATIONS,
    CpuClock,
    Options,
    Result,
    default_folder,
    find_task,
    format_results,
    short_name,
)
from sb3_gac.data import OfflineDataset, load_dataset


class PeerRun:
    """
    One training of a peer, ready to start: options checked, data loaded, algorithm made.

    :param options: what to train, how, and where to leave it; its ``params`` are ``n_updates`` and settings of d3rlpy's
        configuration, and it is always trained offline.
    :raises ImportError: telling what to install, when something is missing that will be needed.
    :raises ValueError: when the options contradict each other or the data.
    """

    def __init__(self, options: Options) -> None:
        if options.algo not in PEERS:
            raise ValueError(f"no peer {options.algo!r}; known: {', '.join(PEERS)}")
        if options.mode not in (None, "offline"):
            raise ValueError(f"the peers are trained offline, not {options.mode}")
        require_d3rlpy()
        require("plots", "matplotlib")
        self.options = options
        self.peer = PEERS[options.algo]
        if options.target_return is not None and not self.peer.is_sequence_model:
            raise ValueError(f"{options.algo} cannot be asked for a return")
        self.task = find_task(options.env, options.data)
        params = dict(options.params)
        self.n_updates = int(params.pop("n_updates", self.peer.n_updates))
        if self.n_updates < 1:
            raise ValueError(f"n_updates must be positive, not {self.n_updates}")
        self.env = LastStepVecEnv(make_eval_env(self.task, options.eval_episodes))
        dataset = self._load()
        self.data = short_name(dataset)
        trajectories = visible_trajectories(self.peer, dataset.trajectories)
        self.dataset = OfflineDataset(trajectories, dataset.observation_space, dataset.action_space, dataset.name)
        self.returns = [trajectory.total_return for trajectory in dataset.trajectories]
        self.target_return = options.target_return
        if self.peer.is_sequence_model and self.target_return is None:
            self.target_return = max(self.returns)
        import d3rlpy

        d3rlpy.seed(options.seed)
        device = options.device
        if device in ("auto", "cuda"):
            device = "cuda:0" if th.cuda.is_available() else "cpu:0"
        self.algorithm = make_algorithm(self.peer, params, self.dataset, self.task.horizon, device)
        self.folder = options.output or default_folder(options, self.task, ["offline"])
        self.points: list[CurvePoint] = []
        self.made_by = {**provenance(), "d3rlpy": d3rlpy.__version__}

    def train(self) -> list[Result]:
        """Train and evaluate; the one result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"n_updates": self.n_updates, **json.loads(self.algorithm.config.serialize())}
        config = {"options": asdict(self.options), "d3rlpy": settings, "made_by": self.made_by}
        dump_yaml(config, self.folder / "config.yml")
        try:
            clock = CpuClock()
            self._fit(clock)
            cpu_seconds = clock.seconds
            self.algorithm.save(str(self.folder / "model.d3"))
            returns = self._evaluate(self.options.eval_episodes, self.n_updates, cpu_seconds, self.options.progress_bar)
        finally:
            self.env.close()
        result = Result.of(
            self.task,
            returns,
            data=self.data,
            algo=self.options.algo,
            seed=self.options.seed,
            phase="offline",
            target_return=self.target_return,
            cpu_seconds=cpu_seconds,
            n_updates=self.n_updates,
            n_env_steps=0,
        )
        row = {**asdict(result), **self.made_by}
        write_rows(self.folder / "results.csv", [row])
        if self.options.results is not None:
            write_rows(self.options.results, [row], append=True)
        references = {"data, mean": float(np.mean(self.returns)), "data, best": float(np.max(self.returns))}
        title = f"{self.peer.label} on {self.task.name}, seed {self.options.seed}"
        plot_learning_curve(self.points, self.task, self.folder / "learning_curve.png", title, references)
        return [result]

    def _load(self) -> OfflineDataset:
        data: Any = self.options.data
        if data is None:
            from benchmarks.datasets import generate_dataset

            data = generate_dataset(self.task.name)
        return load_dataset(data, self.env.observation_space, self.env.action_space)

    def _fit(self, clock: CpuClock) -> None:
        """Train, with evaluations on the way that the clock does not count."""
        import d3rlpy
        import structlog

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        eval_freq = self.options.eval_freq
        if eval_freq is None:
            eval_freq = max(self.n_updates // N_EVALUATIONS, 1)

        def evaluate_meanwhile(_: Any, __: int, n_updates: int) -> None:
            # The end has an evaluation of its own
            if eval_freq > 0 and n_updates % eval_freq == 0 and n_updates <= self.n_updates - eval_freq / 2:
                with clock.pause(), th.random.fork_rng():
                    self._evaluate(min(CURVE_EPISODES, self.options.eval_episodes), n_updates, clock.seconds)

        self.algorithm.fit(
            make_buffer(self.dataset.trajectories),
            n_steps=self.n_updates,
            n_steps_per_epoch=self.n_updates,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=self.options.progress_bar,
            callback=evaluate_meanwhile,
        )

    def _evaluate(self, n_episodes: int, n_updates: int, cpu_seconds: float, progress_bar: bool = False) -> Any:
        """Returns of the policy as it is, which also make a point of the learning curve."""
        policy: Predictor = ReactivePolicy(self.algorithm)
        if self.target_return is not None:
            policy = SequencePolicy(self.algorithm, self.env, self.target_return, self.peer.information)
        returns = evaluate(policy, self.env, n_episodes, EVALUATION_SEED, progress_bar=progress_bar)
        interval = bootstrap_interval(returns)
        score = self.task.normalized_score(interval.mean)
        self.points.append(CurvePoint("offline", n_updates, n_updates, cpu_seconds, n_episodes, *interval, score))
        write_rows(self.folder / "evaluations.csv", [point._asdict() for point in self.points])
        return returns


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line, named as those of ``benchmarks.train``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--algo", choices=PEERS, required=True)
    parser.add_argument("--env", help="benchmark task or Gymnasium id")
    parser.add_argument("--data", help="Minari id or path, or a D4RL .hdf5 file (default: the task's, made if need be)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "-params", "--hyperparams", nargs="+", default=[], metavar="KEY:VALUE", help="n_updates and d3rlpy's settings"
    )
    parser.add_argument("--eval-episodes", type=int, default=50, help="at the end (default: %(default)s)")
    parser.add_argument("--eval-freq", type=int, help="updates between evaluations (default: an eighth; 0: none)")
    parser.add_argument("--target-return", type=float, help="return to ask DT for (default: the largest of the data)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: under runs/)")
    parser.add_argument("--results", type=Path, help="CSV file to add the results to")
    parser.add_argument("--num-threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_parser()
    given = parser.parse_args(arguments)
    th.set_num_threads(given.num_threads)
    try:
        options = Options(
            env=given.env,
            data=given.data,
            algo=given.algo,
            mode="offline",
            seed=given.seed,
            device=given.device,
            params=parse_params(given.hyperparams),
            eval_episodes=given.eval_episodes,
            eval_freq=given.eval_freq,
            target_return=given.target_return,
            output=given.output,
            results=given.results,
            progress_bar=not given.no_progress,
        )
        run = PeerRun(options)
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(format_results(run.train()))
    print(f"all else is in {run.folder}")


if __name__ == "__main__":
    main()
