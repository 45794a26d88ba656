"""The runs of a sweep: every data set with every algorithm and every seed, and what is known of each."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.envs import TASKS, find_task
from benchmarks.hyperparam import HYPERPARAMS, load_hyperparams, load_yaml
from benchmarks.job import from_root
from benchmarks.options import ALGOS, MODES, Options, choose_phases
from benchmarks.peer import PEERS

ABLATIONS = HYPERPARAMS.with_name("ablations.yml")
ALL_ALGOS = (*ALGOS, *PEERS)


@dataclass(frozen=True)
class Cell:
    """
    One run of the grid.

    :param env: benchmark task or Gymnasium id; "data" for the environment that a Minari data set names.
    :param data: Minari id or path, path of a D4RL file; None for none or the task's own.
    :param algo: one of ``benchmarks.train`` or ``benchmarks.peers``.
    :param variant: name of the ablation; empty for the recipe as it is.
    :param seed: of the training.
    :param params: hyper-parameters that take the place of the recipe's.
    :param mode: see :class:`benchmarks.options.Options`.
    :param eval_episodes: episodes of the evaluation after each phase.
    :param hyperparams: file of the recipe; the peers do not read it.
    :param eval_freq: see :class:`benchmarks.options.Options`; nothing that is learnt depends on it.
    """

    env: str | None
    data: str | None
    algo: str
    variant: str = ""
    seed: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    mode: str | None = None
    eval_episodes: int = 50
    hyperparams: Path = HYPERPARAMS
    eval_freq: int | None = None

    @property
    def is_peer(self) -> bool:
        """Whether d3rlpy runs it."""
        return self.algo in PEERS

    @property
    def task(self) -> str:
        """Name of the task, data set or environment."""
        return find_task(self.env, self.data).name

    @property
    def name(self) -> str:
        """What tells it from the other runs of a grid, also as the name of a folder."""
        algo = f"{self.algo}+{self.variant}" if self.variant else self.algo
        return f"{self.task.replace('/', '_')}/{algo}/seed{self.seed}"

    def resolve_params(self) -> dict[str, Any]:
        """
        The hyper-parameters of the run, the file's included.

        :raises ValueError: when one is not known.
        """
        if self.is_peer:
            return {"n_updates": PEERS[self.algo].n_updates, **PEERS[self.algo].params, **self.params}
        task = find_task(self.env, self.data)
        return load_hyperparams([self.data, task.name, task.env_id], self.params, self.hyperparams)

    @property
    def settings(self) -> str:
        """All that bears on its result and is no column of its own, as JSON: a run with other settings is another run."""
        data = None if self.data is None else Path(self.data).name
        settings = {"data": data, "mode": self.mode, "eval_episodes": self.eval_episodes, "params": self.resolve_params()}
        return json.dumps(settings, sort_keys=True, default=str)

    def check(self) -> None:
        """
        Complain about a run that could not start.

        :raises ValueError: when there is no such task or hyper-parameter, or the mode does not fit.
        """
        task, params = find_task(self.env, self.data), self.resolve_params()
        has_data = self.data is not None or task.name in TASKS
        if not self.is_peer:
            choose_phases(Options(algo=self.algo, mode=self.mode), params, has_data)
        elif self.mode not in (None, "offline") or not has_data:
            raise ValueError(f"{self.algo} learns offline, from a data set: not {self.mode or 'without one'}")

    def command(self, python: str, data: str | None, folder: Path) -> list[str]:
        """
        The command that runs it.

        :param python: the interpreter.
        :param data: where the data set is, made if it had to be.
        :param folder: where the run leaves everything.
        """
        given: dict[str, Any] = {
            "--env": self.env,
            "--data": data,
            "--algo": self.algo,
            "--seed": self.seed,
            "--eval-episodes": self.eval_episodes,
            "--eval-freq": self.eval_freq,
            "--output": folder,
        }
        if not self.is_peer:
            given |= {"--mode": self.mode, "--conf-file": from_root(self.hyperparams)}
        words = [str(word) for option, value in given.items() if value is not None for word in (option, value)]
        if self.params:
            words += ["-params", *(f"{key}:{value}" for key, value in self.params.items())]
        return [python, "-m", "benchmarks.peers" if self.is_peer else "benchmarks.train", *words, "--no-progress"]


def make_grid(
    data: Sequence[str],
    algos: Sequence[str],
    seeds: Sequence[int],
    ablations: Mapping[str, Mapping[str, Any]] | None = None,
    params: Mapping[str, Any] | None = None,
    peer_params: Mapping[str, Any] | None = None,
    mode: str | None = None,
    eval_episodes: int = 50,
    hyperparams: Path = HYPERPARAMS,
    eval_freq: int | None = None,
) -> list[Cell]:
    """
    The cells of a grid, seed by seed, so that a sweep that is stopped has something of everything.

    :param data: each the name of a benchmark task, ``TASK=PATH`` for a data set of it, a Gymnasium id, or the id or path of a
        Minari data set.
    :param algos: names of algorithms.
    :param seeds: seeds of the trainings.
    :param ablations: by name, what changes of the hyper-parameters of GAC; the recipe itself comes first.
    :param params: hyper-parameters that take the place of the recipe's in every run that is no peer's.
    :param peer_params: settings that take the place of the peers' own.
    :param mode: phases of GAC; behaviour cloning and the peers are always offline.
    :param eval_episodes: episodes of each final evaluation.
    :param hyperparams: file of the recipe.
    :param eval_freq: see :class:`benchmarks.options.Options`.
    :raises ValueError: naming what is not known, or when the grid is empty or has a run twice.
    """
    for algo in algos:
        if algo not in ALL_ALGOS:
            raise ValueError(f"no algorithm {algo!r}; known: {', '.join(ALL_ALGOS)}")
    if mode is not None and mode not in MODES:
        raise ValueError(f"no mode {mode!r}; known: {', '.join(MODES)}")
    if ablations and "gac" not in algos:
        raise ValueError(f"ablations are of gac, which is not among {', '.join(algos)}")
    cells = []
    for seed, item, algo in itertools.product(seeds, data, algos):
        variants: dict[str, Mapping[str, Any]] = {"": {}, **(ablations or {})} if algo == "gac" else {"": {}}
        for variant, changes in variants.items():
            overrides = dict(peer_params or {}) if algo in PEERS else {**(params or {}), **changes}
            cell_mode = mode if algo == "gac" or mode is None else "offline"
            cell = Cell(*_split(item), algo, variant, seed, overrides, cell_mode, eval_episodes, hyperparams, eval_freq)
            cell.check()
            cells.append(cell)
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not cells:
        raise ValueError(
            f"twice in the grid: {', '.join(twice)}" if twice else "nothing to run: data, algorithms and seeds needed"
        )
    return cells


def load_ablations(names: Sequence[str], path: Path = ABLATIONS) -> dict[str, dict[str, Any]]:
    """
    Ablations by name.

    :param names: which; "all" for all of them.
    :param path: the YAML file.
    :raises ValueError: when there is none of that name.
    """
    known: dict[str, dict[str, Any]] = load_yaml(path)
    chosen = list(known) if "all" in names else list(names)
    for name in chosen:
        if name not in known:
            raise ValueError(f"{path} has no ablation {name!r}; it has {', '.join(known)}")
    return {name: known[name] for name in chosen}


def _split(item: str) -> tuple[str | None, str | None]:
    """Environment and data set of what stands on the command line."""
    env, equals, data = item.partition("=")
    if equals:
        if not env or not data:
            raise ValueError(f"expected TASK=PATH, not {item!r}")
        return env, data
    if item in TASKS:
        return item, None
    try:
        find_task(item)
    except ValueError:
        return None, item
    return item, None
