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
from typing import Any

import torch as th

from benchmarks.envs import find_task
from benchmarks.evaluation import EVALUATION_SEED, Array, Predictor, evaluate, make_eval_env
from benchmarks.options import Options, add_run_options, make_command_parser, parse_options
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
from benchmarks.run_folder import Result, RunFolder, format_results
from benchmarks.train import CpuClock, load_data
from sb3_gac.data import OfflineDataset
from sb3_gac.extra import require


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
        dataset = load_data(options.data, self.task, self.env)
        trajectories = visible_trajectories(self.peer, dataset.trajectories)
        self.dataset = OfflineDataset(trajectories, dataset.observation_space, dataset.action_space, dataset.name)
        self.target_return = options.target_return
        if self.peer.is_sequence_model and self.target_return is None:
            self.target_return = max(trajectory.total_return for trajectory in dataset.trajectories)
        import d3rlpy

        d3rlpy.seed(options.seed)
        device = options.device
        if device in ("auto", "cuda"):
            device = "cuda:0" if th.cuda.is_available() else "cpu:0"
        self.algorithm = make_algorithm(self.peer, params, self.dataset, self.task.horizon, device)
        versions = {"d3rlpy": d3rlpy.__version__}
        self.folder = RunFolder(options, self.task, ["offline"], self.peer.label, dataset, versions)

    def train(self) -> list[Result]:
        """Train and evaluate; the one result."""
        self.folder.begin(d3rlpy={"n_updates": self.n_updates, **json.loads(self.algorithm.config.serialize())})
        try:
            clock = CpuClock()
            self._fit(clock)
            cpu_seconds = clock.seconds
            self.algorithm.save(str(self.folder.path / "model.d3"))
            returns = self._evaluate(self.options.eval_episodes, self.n_updates, cpu_seconds, self.options.progress_bar)
        finally:
            self.env.close()
        self.folder.draw_curve()
        self.folder.add_result("offline", self.n_updates, 0, cpu_seconds, returns, self.target_return)
        return self.folder.results

    def _fit(self, clock: CpuClock) -> None:
        """Train, with evaluations on the way that the clock does not count."""
        import d3rlpy
        import structlog

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        eval_freq = self.options.choose_eval_freq(self.n_updates)

        def evaluate_meanwhile(_: Any, __: int, n_updates: int) -> None:
            # The end has an evaluation of its own
            if eval_freq > 0 and n_updates % eval_freq == 0 and n_updates <= self.n_updates - eval_freq / 2:
                with clock.pause(), th.random.fork_rng():
                    self._evaluate(self.options.curve_episodes, n_updates, clock.seconds)

        self.algorithm.fit(
            make_buffer(self.dataset.trajectories),
            n_steps=self.n_updates,
            n_steps_per_epoch=self.n_updates,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=self.options.progress_bar,
            callback=evaluate_meanwhile,
        )

    def _evaluate(self, n_episodes: int, n_updates: int, cpu_seconds: float, progress_bar: bool = False) -> Array:
        """Returns of the policy as it is, which also make a point of the learning curve."""
        policy: Predictor = ReactivePolicy(self.algorithm)
        if self.target_return is not None:
            policy = SequencePolicy(self.algorithm, self.env, self.target_return, self.peer.information)
        returns = evaluate(policy, self.env, n_episodes, EVALUATION_SEED, progress_bar=progress_bar)
        self.folder.add_evaluation("offline", n_updates, n_updates, cpu_seconds, returns)
        return returns


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line, named as those of ``benchmarks.train``."""
    parser = make_command_parser("peers", __doc__)
    parser.add_argument("--algo", choices=PEERS, required=True)
    add_run_options(parser, "n_updates and d3rlpy's settings")
    parser.set_defaults(mode="offline")
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
        run = PeerRun(parse_options(given))
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(format_results(run.train()))
    print(f"all else is in {run.folder.path}")


if __name__ == "__main__":
    main()
