"""
GAC in two to three minutes on two CPU cores: learn a maze from a data set, then go on learning in it.

    python -m benchmarks.demo                          two to three minutes
    python -m benchmarks.demo --steps 400 --online-steps 2000 --data-steps 50000 --episodes 10
                                                       a minute or so, to see that it runs

The data set is made first, by D4RL's recipe. Scores, the learning curve, models and pictures of plans are left in runs/demo.
"""

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
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
TELL_SECONDS = 15.0


@contextlib.contextmanager
def told_time(seconds: float = TELL_SECONDS) -> Iterator[None]:
    """Say every so many seconds how long it has taken so far, whatever is going on, and at the end."""
    start, is_over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not is_over.wait(seconds):
            print(f"... {time.monotonic() - start:.0f} s", flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    print(f"{(time.monotonic() - start) / 60:.1f} minutes in all", flush=True)


def plot_plans(model: GAC, task: MazeTask, path: Path, title: str, n_starts: int = 10) -> None:
    """Draw where plans lead from the same starts: sampled from the prior, exploited, and explored given the target return."""
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


def demonstrate(given: argparse.Namespace) -> None:
    """Make data, learn offline, evaluate, learn online, evaluate, draw."""
    folder = given.output.resolve()
    print(f"Making the data set of {TASK}", flush=True)
    data = generate_dataset(TASK, given.data_steps, output=folder / "data", overwrite=True)
    print(summarize_dataset(data), flush=True)

    print("Learning from the data set, first what its steps are worth; then in the maze", flush=True)
    overrides = {"offline_gradient_steps": given.steps, "n_timesteps": given.online_steps}
    job = Job("gac", f"{TASK}={data}", given.seed, is_finetuned=True, overrides=overrides)
    curves, table = folder / "curves.csv", folder / "results.csv"
    for path in (curves, table):
        path.unlink(missing_ok=True)
    row = run_job(job, EVAL_FREQ, curves, save=folder, n_eval_episodes=given.episodes)
    append_row(table, row)

    print("Drawing", flush=True)
    task = TASKS[TASK]
    assert isinstance(task, MazeTask)
    for phase in ("offline", "online"):
        plot_plans(GAC.load(folder / f"model_{phase}"), task, folder / f"plans_{phase}.png", f"GAC on {TASK}, {phase}")
    draw_curves(read_rows(curves), folder)

    columns = (TASK, "normalised score", "CPU s")
    lines = [
        ("GAC, offline, regenerated data", f"{row['score']:.1f}", f"{row['train_cpu_s']:.0f}"),
        ("GAC, then online, regenerated data", f"{row['online_score']:.1f}", f"{row['online_cpu_s']:.0f}"),
        ("GAC, offline, paper, original D4RL data", PAPER_SCORE, ""),
    ]
    print(f"\n{format_table([dict(zip(columns, line, strict=True)) for line in lines])}\n")
    print(f"{given.episodes} episodes each, seed {given.seed}; other seeds differ")
    print(f"figures, models and tables are in {given.output}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser("benchmarks.demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    for name, default, text in (
        ("steps", 2_000, "gradient steps of the offline phase"),
        ("online-steps", 4_000, "environment steps of the online phase"),
        ("data-steps", 100_000, "steps of the data set"),
        ("episodes", 50, "episodes of each evaluation"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "demo")
    given = parser.parse_args(arguments)
    with told_time():
        demonstrate(given)


if __name__ == "__main__":
    main()
