"""
Search hyper-parameters with two processes that share a study, then go on with it.

    python examples/tune_with_optuna.py

The pendulum, for about a minute: far too short to find much. The command line does the same, see
`python -m benchmarks.tune --help`. Everything is left in runs/tune-example.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are not installed

from benchmarks.options import Options
from benchmarks.tune import TuneOptions, tune

FOLDER = Path("runs") / "tune-example"

if __name__ == "__main__":
    run = Options(
        env="Pendulum-v1",
        mode="online",
        params={"n_timesteps": 2000, "gradient_steps": 20, "learning_starts": 500},
        eval_freq=500,
        eval_episodes=5,
        output=FOLDER,
    )
    # A database that several machines reach would let all of them work on the same study
    storage = str(FOLDER / "study.log")
    tune(TuneOptions(run, n_trials=4, storage=storage, workers=2))
    study = tune(TuneOptions(run, n_trials=5, storage=storage))  # one more

    print(f"best of {len(study.trials)} trials: {study.best_value:.0f} with {study.best_params}")
    print(f"{FOLDER / 'best.yml'} has it as settings for benchmarks.train; figures and tables are beside it")
