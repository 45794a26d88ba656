"""
Regenerate the data sets of the benchmark tasks as local Minari data sets.

``python -m benchmarks.datasets maze2d-umaze hopper-medium`` makes ``gac/maze2d-umaze-v0`` and ``gac/hopper-medium-v0``
by D4RL's recipes. They are not D4RL's data: results on them are to be called *regenerated*.
"""

import argparse
import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.envs import TASKS, Task
from benchmarks.episode import Episode
from benchmarks.sac_recipe import MediumRecipe, MediumReplayRecipe, SacTraining, as_json
from benchmarks.table import versions
from benchmarks.waypoint import WaypointRecipe
from sb3_gac.atomic import replace_when_complete

Recipe: TypeAlias = WaypointRecipe | MediumRecipe | MediumReplayRecipe

SAC_TRAININGS = {
    "hopper": SacTraining(return_threshold=1400),
    "walker2d": SacTraining(return_threshold=2500),
    "halfcheetah": SacTraining(return_threshold=4800),
}

RECIPES: dict[str, Recipe] = {
    "maze2d-umaze": WaypointRecipe(),
    "maze2d-medium": WaypointRecipe(),
    "maze2d-large": WaypointRecipe(),
    **{f"{name}-medium": MediumRecipe(training) for name, training in SAC_TRAININGS.items()},
    **{f"{name}-medium-replay": MediumReplayRecipe(training) for name, training in SAC_TRAININGS.items()},
}
"""How the data set of each benchmark task is made."""


def dataset_id(name: str) -> str:
    """Minari id of the regenerated data set of a task."""
    return f"gac/{name}-v0"


def dataset_path(name: str, output: Path | None = None) -> Path:
    """Folder of the data set of a task, whether it exists or not, under a root that is Minari's own if None."""
    if output is None:
        from minari.storage import get_dataset_path

        output = Path(get_dataset_path())
    return output.absolute() / dataset_id(name)  # Minari joins relative paths to themselves


def generate_dataset(
    name: str, n_steps: int | None = None, seed: int = 0, output: Path | None = None, overwrite: bool = False
) -> Path:
    """
    Make the data set of a task, unless it is there.

    :param name: name of the task.
    :param n_steps: steps in all; the recipe's own number if None. Not for medium-replay, which has a return to reach.
    :param seed: the same seed makes the same data on the same machine.
    :param output: root folder of the data sets; Minari's own if None.
    :param overwrite: make it again; the old one is replaced once the new one is complete.
    :return: its folder.
    :raises ValueError: when the data set that is there has another recipe or seed and is not to be overwritten, or
        when ``n_steps`` is not positive or cannot be chosen.
    """
    task, recipe = TASKS[name], RECIPES[name]
    if n_steps is not None:
        if n_steps <= 0:
            raise ValueError(f"a data set needs a positive number of steps, not {n_steps}")
        if isinstance(recipe, MediumReplayRecipe):
            raise ValueError(f"the steps of {name} are those until SAC reaches its return, they cannot be chosen")
        recipe = dataclasses.replace(recipe, n_steps=n_steps)
    path = dataset_path(name, output)
    origin = {"seed": seed, "recipe": {"name": type(recipe).__name__, **as_json(recipe)}}
    if path.exists() and not overwrite:
        metadata = json.loads((path / "data" / "metadata.json").read_text())
        found = {key: metadata.get(key) for key in origin}
        if found != origin:
            raise ValueError(f"{path} was made otherwise: {found} instead of {origin}; overwrite it or choose another output")
        return path
    episodes = recipe.collect(task, seed, work_dir=path.parent / ".sac")
    write_dataset(path, task, episodes, {**origin, "description": recipe.description})
    return path


def write_dataset(path: Path, task: Task, episodes: Iterator[Episode], metadata: dict[str, Any]) -> None:
    """
    Write a Minari data set, which appears under its name only when it is complete.

    :param path: folder of the data set, ``<root>/<namespace>/<name>``; an older one is replaced.
    :param task: gives the environment to evaluate in and the reference scores.
    :param episodes: one after another, so that they need not fit into memory.
    :param metadata: kept with the data, must fit into JSON.
    """
    import minari
    from minari.dataset.minari_storage import MinariStorage

    with replace_when_complete(path) as partial, contextlib.closing(task.make_env()) as env:
        partial.mkdir(parents=True)
        spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
        storage = MinariStorage.new(partial / "data", **spaces, env_spec=env.spec)
        storage.update_metadata(
            {
                "dataset_id": f"{path.parent.name}/{path.name}",
                "minari_version": minari.__version__,
                "author": {"The sb3_gac developers"},
                "ref_min_score": task.ref_min_score,
                "ref_max_score": task.ref_max_score,
                "versions": versions(),
                **metadata,
            }
        )
        storage.update_episodes(map(_to_minari, episodes))
        shutil.rmtree(path, ignore_errors=True)


def summarize_dataset(path: Path) -> str:
    """Number and returns of the trajectories of a data set, in a line."""
    import minari

    dataset = minari.MinariDataset(path / "data")
    returns = np.array([np.sum(episode.rewards, dtype=np.float64) for episode in dataset.iterate_episodes()])
    return (
        f"{dataset.id}: {dataset.total_episodes:,} trajectories, {dataset.total_steps:,} steps, return mean "
        f"{returns.mean():.2f}, 90th percentile {np.percentile(returns, 90):.1f}, max {returns.max():.1f}, "
        f"{(returns > 0).mean():.1%} positive; in {path}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datasets", description=__doc__)
    parser.add_argument("names", nargs="+", choices=tuple(TASKS), metavar="NAME", help=", ".join(TASKS))
    parser.add_argument("--steps", type=int, help="steps in all (default: mazes 300,000, medium 200,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="root folder of the data sets (default: Minari's)")
    parser.add_argument("--overwrite", action="store_true", help="make data sets again that are there")
    options = parser.parse_args(arguments)
    for name in options.names:
        try:
            path = generate_dataset(name, options.steps, options.seed, options.output, options.overwrite)
        except ValueError as error:
            parser.error(str(error))
        print(summarize_dataset(path))


def _to_minari(episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    ends = np.zeros((2, len(episode)), dtype=bool)
    ends[0, -1], ends[1, -1] = episode.terminated, not episode.terminated
    arrays = {"observations": episode.observations, "actions": episode.actions, "rewards": episode.rewards}
    return EpisodeBuffer(**arrays, terminations=ends[0], truncations=ends[1])


if __name__ == "__main__":
    main()
