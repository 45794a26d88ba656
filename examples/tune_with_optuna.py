"""
Search hyper-parameters of offline learning with Optuna, then go on with the study.

    python examples/tune_with_optuna.py

A maze, for some minutes: far too short to find much. The command line does the same, see
`python -m benchmarks.tune --help`. The data set and the study are left in runs/tune-example.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are not installed

from benchmarks.datasets import generate_dataset
from benchmarks.offline import Job
from benchmarks.tune import open_study, search

FOLDER = Path("runs") / "tune-example"
DATA_STEPS, GRADIENT_STEPS, EPISODES = 5_000, 40, 2

if __name__ == "__main__":
    data = generate_dataset("maze2d-umaze", DATA_STEPS, output=FOLDER / "data")
    # What is given is not searched; to estimate advantages would take most of the time here
    given = {"offline_gradient_steps": GRADIENT_STEPS, "advantage_temperature": None}
    job = Job("gac", f"maze2d-umaze={data}", overrides=given)
    # Several processes may share the study; a database that several machines reach lets all of them work on it
    storage = str(FOLDER / "study.log")
    search(job, open_study("umaze", storage), n_trials=2, n_eval_episodes=EPISODES)
    study = open_study("umaze", storage)
    search(job, study, n_trials=3, n_eval_episodes=EPISODES)  # one more

    print(f"best of {len(study.trials)} trials: {study.best_value:.0f} with {study.best_params}")
