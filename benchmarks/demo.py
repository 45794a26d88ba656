"""
GAC in two to four minutes on two CPU cores: learn a maze from a data set, then go on learning in it.

    python -m benchmarks.demo                          two to four minutes
    python -m benchmarks.demo --steps 400 --online-steps 2000 --data-steps 50000 --episodes 10
                                                       a minute or so, to see that it runs

The data set is made first, by D4RL's recipe. Scores, the learning curve, models and pictures of plans are left in runs/demo.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.datasets import generate_dataset, summarize_dataset
from benchmarks.envs import TASKS, MazeTask
from benchmarks.offline import Job, run_job
from benchmarks.report import draw_curves
from benchmarks.table import append_row, format_table, read_rows
from sb3_gac import GAC
from sb3_gac.plots.figure import save_figure
from sb3_gac.plots.maze import Maze, plot_maze
from sb3_gac.plots.rollout import roll_out

TASK = "maze2d-umaze"
PAPER_SCORE = 67.8  # Table of arXiv 2512.21527, after offline training
EVAL_FREQ = 2_000


def plot_plans(model: GAC, task: MazeTask, path: Path, title: str, n_starts: int = 10) -> None:
    """
    Draw where plans lead from the same starts: sampled from the prior, exploited, and explored given the target return.

    :param model: A trained model.
    :param task: The maze.
    :param path: The PNG file.
    :param title: Title of the figure.
    :param n_starts: Number of starts.
    """
    envs = [task.make_env() for _ in range(n_starts)]
    target = 0.0 if model.target_return is None or model.target_return.value is None else model.target_return.value
    panels = {
        "sampled from the prior": roll_out(model, envs, task.horizon, "prior", n_plans=3),
        "exploited: largest predicted return": roll_out(model, envs, task.horizon, "exploit"),
        f"explored: given a return of {target:.0f}": roll_out(model, envs, task.horizon, "explore", n_plans=3),
    }
    for env in envs:
        env.close()
    maze = Maze(task.layout, task.cell_center(task.goal_cell))
    title = f"{title}: plans followed from {n_starts} starts (circles) towards the goal (star)"
    # The same colours in every figure of the maze, as long as no return is above the reference
    save_figure(plot_maze(maze, panels, title, task.ref_max_score), path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser("benchmarks.demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="gradient steps of the offline phase (default: the recipe's)")
    parser.add_argument(
        "--online-steps", type=int, default=6000, help="environment steps of the online phase (default: %(default)s)"
    )
    parser.add_argument("--data-steps", type=int, default=300_000, help="steps of the data set (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=50, help="episodes of each evaluation (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "demo")
    given = parser.parse_args(arguments)

    start, folder = time.monotonic(), given.output.resolve()
    print(f"Making the data set of {TASK}", flush=True)
    data = generate_dataset(TASK, given.data_steps, output=folder / "data", overwrite=True)
    print(summarize_dataset(data), flush=True)

    print("Learning from the data set, then in the maze", flush=True)
    steps = {"offline_gradient_steps": given.steps, "n_timesteps": given.online_steps}
    overrides = {name: value for name, value in steps.items() if value is not None}
    job = Job("gac", f"{TASK}={data}", given.seed, is_finetuned=True, overrides=overrides)
    curves, table = folder / "curves.csv", folder / "results.csv"
    for path in (curves, table):
        path.unlink(missing_ok=True)
    row = run_job(job, EVAL_FREQ, curves, save=folder, n_eval_episodes=given.episodes)
    append_row(table, row)
    task = TASKS[TASK]
    assert isinstance(task, MazeTask)
    for phase in ("offline", "online"):
        plot_plans(GAC.load(folder / f"model_{phase}"), task, folder / f"plans_{phase}.png", f"GAC on {TASK}, {phase}")
    draw_curves(read_rows(curves), folder)

    scores = {"offline": row["score"], "then online": row["online_score"]}
    seconds = {"offline": row["train_cpu_s"], "then online": row["online_cpu_s"]}
    lines = [
        {TASK: f"GAC, {phase}, regenerated data", "normalised score": f"{score:.1f}", "CPU s": f"{seconds[phase]:.0f}"}
        for phase, score in scores.items()
    ]
    lines.append({TASK: "GAC, offline, paper, original D4RL data", "normalised score": f"{PAPER_SCORE}", "CPU s": ""})
    print(f"\n{format_table(lines)}\n")
    print(f"{given.episodes} episodes each, seed {given.seed}; other seeds differ")
    print(
        f"figures, models and tables are in {given.output}; {(time.monotonic() - start) / 60:.1f} minutes in all", flush=True
    )


if __name__ == "__main__":
    main()
