"""
GAC in two to four minutes on two CPU cores: learn a maze from a data set, then go on learning in it.

    python -m benchmarks.demo                          two to four minutes
    python -m benchmarks.demo --steps 400 --online-steps 2000 --data-steps 50000 --episodes 10
                                                       a minute or so, to see that it runs

The data set is made first, by D4RL's recipe. Scores before and after fine-tuning, the learning curve and pictures of the
plans are left in the folder ``runs/demo``.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import torch as th

from benchmarks.datasets import generate_dataset, summarize_dataset
from benchmarks.options import Options, make_command_parser
from benchmarks.record import format_range, format_table
from benchmarks.train import Run

TASK = "maze2d-umaze"
PAPER_SCORE = 67.8  # Table of arXiv 2512.21527, after offline training


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = make_command_parser("demo", __doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="gradient steps of the offline phase (default: the recipe's)")
    parser.add_argument("--online-steps", type=int, help="environment steps of the online phase (default: the recipe's)")
    parser.add_argument("--data-steps", type=int, default=300_000, help="steps of the data set (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=50, help="episodes of each evaluation (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "demo")
    given = parser.parse_args(arguments)

    start = time.monotonic()
    th.set_num_threads(1)  # networks as small as these are no faster with two
    print(f"Making the data set of {TASK}")
    data = generate_dataset(TASK, given.data_steps, output=given.output / "data", overwrite=True)
    print(summarize_dataset(data))

    params = {"offline_gradient_steps": given.steps, "n_timesteps": given.online_steps}
    options = Options(
        env=TASK,
        data=str(data),
        mode="offline-to-online",
        seed=given.seed,
        device="cpu",
        params={key: value for key, value in params.items() if value is not None},
        eval_episodes=given.episodes,
        output=given.output,
        progress_bar=given.progress_bar,
    )
    print("Learning from the data set, then in the maze")
    results = Run(options).train()
    rows = [
        {
            TASK: f"GAC, {result.phase}, regenerated data",
            "normalised score": f"{result.score:.1f}",
            "95 % interval": format_range(result.score_low, result.score_high),
            "CPU s": f"{result.cpu_seconds:.0f}",
        }
        for result in results
    ]
    paper = {TASK: "GAC, offline, paper, original D4RL data", "normalised score": f"{PAPER_SCORE}"}
    rows.append({**dict.fromkeys(rows[0], ""), **paper})
    print(f"\n{format_table(rows)}\n")
    print(f"{given.episodes} episodes each, seed {given.seed}; other seeds differ")
    print(f"figures, models and tables are in {given.output}; {(time.monotonic() - start) / 60:.1f} minutes in all")


if __name__ == "__main__":
    main()
