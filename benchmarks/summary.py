"""Results of many runs as means with intervals over the seeds, and as tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.envs import TASKS
from benchmarks.evaluation import Array
from benchmarks.job import Row, read_rows
from benchmarks.peer import PEERS
from benchmarks.record import format_table
from sb3_gac.plots.interval import Interval, bootstrap_interval

PUBLISHED = Path(__file__).with_name("published.csv")
# What each algorithm is told of the rewards, besides what the peers are told
INFORMATION = {"gac": "return", "bc": "none", "bc10": "return"}
LABELS = {"gac": "GAC", "bc": "BC", "bc10": "10 % BC", **{name: peer.label for name, peer in PEERS.items()}}
N_RESAMPLES = 10_000


@dataclass(frozen=True)
class Method:
    """
    What is compared: an algorithm, or an ablation of it, after one of its phases.

    :param algo: name of the algorithm.
    :param variant: name of the ablation; empty for the recipe.
    :param phase: "offline" or "online".
    """

    algo: str
    variant: str = ""
    phase: str = "offline"

    @property
    def label(self) -> str:
        """Its name in tables."""
        label = LABELS.get(self.algo, self.algo)
        return f"{label}, {self.variant}" if self.variant else label

    @property
    def information(self) -> str:
        """What it is told of the rewards: "none", "return" or "step"."""
        return PEERS[self.algo].information if self.algo in PEERS else INFORMATION.get(self.algo, "step")


@dataclass(frozen=True)
class Summary:
    """
    A method on a task.

    :param scores: one per seed: normalised, or the mean return where the task has no reference scores.
    :param cpu_seconds: mean over the seeds, of this phase.
    :param n_updates: mean over the seeds.
    :param n_env_steps: mean over the seeds, of this phase.
    """

    scores: tuple[float, ...]
    cpu_seconds: float
    n_updates: float
    n_env_steps: float

    @property
    def interval(self) -> Interval:
        """Mean and 95 % bootstrap interval over the seeds; of a single seed, NaN."""
        return seed_interval(self.scores)


def mixed_data(rows: Iterable[Row]) -> dict[str, list[str]]:
    """
    The tasks whose rows are of data sets that differ, with the digests of these.

    :param rows: results; those without a digest are of data that nothing is known of.
    """
    digests: dict[str, set[str]] = {}
    for row in rows:
        if row.get("data_digest"):
            digests.setdefault(row["task"], set()).add(row["data_digest"])
    return {task: sorted(found) for task, found in digests.items() if len(found) > 1}


def seed_interval(values: Sequence[float]) -> Interval:
    """
    Mean and 95 % bootstrap interval over seeds, which one seed does not have.

    :param values: one per seed.
    """
    if len(values) == 1:
        return Interval(float(values[0]), math.nan, math.nan)
    return bootstrap_interval(values)


def summarize(rows: Iterable[Row]) -> dict[str, dict[Method, Summary]]:
    """
    Results by task and method.

    :param rows: of results.
    :raises ValueError: when a run is there twice.
    """
    runs: dict[tuple[str, Method], dict[str, Row]] = {}
    for row in rows:
        method = Method(row["algo"], row.get("variant", ""), row["phase"])
        seeds = runs.setdefault((row["task"], method), {})
        if row["seed"] in seeds:
            raise ValueError(f"{row['task']}, {method.label}, {method.phase}, seed {row['seed']} is there twice")
        seeds[row["seed"]] = row
    summaries: dict[str, dict[Method, Summary]] = {}
    for (task, method), seeds in runs.items():
        of_seeds = list(seeds.values())
        summaries.setdefault(task, {})[method] = Summary(
            tuple(score_of(row) for row in of_seeds),
            *(float(np.mean([float(row[name]) for row in of_seeds])) for name in ("cpu_seconds", "n_updates", "n_env_steps")),
        )
    known = {task: index for index, task in enumerate(TASKS)}
    return dict(sorted(summaries.items(), key=lambda item: (known.get(item[0], len(known)), item[0])))


def score_of(row: Row) -> float:
    """
    Normalised score, or the mean return where there are no reference scores.

    :param row: a result, or an evaluation of a learning curve.
    """
    score = float(row["score"])
    return float(row["mean_return"] if "mean_return" in row else row["mean"]) if math.isnan(score) else score


def stratified_intervals(scores: Sequence[Sequence[float]], seed: int = 0) -> tuple[Interval, Interval]:
    """
    Mean and interquartile mean over several tasks, with 95 % intervals: seeds are resampled within each task.

    As in "Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv 2108.13264.

    :param scores: of each task, one per seed.
    :param seed: of the resampling.
    :return: the mean over the tasks, and the interquartile mean over all runs; NaN intervals when a task has one seed.
    """
    rng = np.random.default_rng(seed)
    tasks = [np.asarray(values, dtype=np.float64) for values in scores]
    resampled = [values[rng.integers(len(values), size=(N_RESAMPLES, len(values)))] for values in tasks]
    task_means = np.stack([values.mean(axis=1) for values in resampled], axis=1).mean(axis=1)
    middle_means = interquartile_mean(np.concatenate(resampled, axis=1))
    points = float(np.mean([values.mean() for values in tasks])), float(interquartile_mean(np.concatenate(tasks)))
    if min(map(len, tasks)) == 1:
        return Interval(points[0], math.nan, math.nan), Interval(points[1], math.nan, math.nan)
    ends = [np.quantile(values, [0.025, 0.975]) for values in (task_means, middle_means)]
    return Interval(points[0], *map(float, ends[0])), Interval(points[1], *map(float, ends[1]))


def interquartile_mean(values: Array) -> Array:
    """
    Mean of the middle half of the values.

    :param values: shape (..., n); a quarter of n is left out on either side, rounded down.
    """
    n_left_out = values.shape[-1] // 4
    middle: Array = np.sort(values, axis=-1)[..., n_left_out : values.shape[-1] - n_left_out].mean(axis=-1)
    return middle


def score_table(summaries: Mapping[str, Mapping[Method, Summary]], phase: str) -> str:
    """
    A row per method and a column per task; methods that know more than returns come last.

    :param summaries: by task and method.
    :param phase: "offline" or "online".
    """
    methods = list(dict.fromkeys(method for of_task in summaries.values() for method in of_task))
    methods = [method for method in methods if method.phase == phase and not method.variant]
    methods.sort(key=lambda method: method.information == "step")
    rows = []
    for method in methods:
        found = {task: of_task[method] for task, of_task in summaries.items() if method in of_task}
        row = {f"after the {phase} phase": method.label, "told of rewards": method.information}
        row |= {task: format_interval(found[task].interval) if task in found else "" for task in summaries}
        if len(summaries) > 1:
            is_complete = len(found) == len(summaries)
            mean, middle = stratified_intervals([found[task].scores for task in summaries]) if is_complete else (None, None)
            row |= {"mean": format_interval(mean) if mean else "", "IQM": format_interval(middle) if middle else ""}
        row["seeds"] = format_count([len(summary.scores) for summary in found.values()])
        row["updates"] = format_count([round(summary.n_updates) for summary in found.values()])
        row["CPU s"] = format_count([round(summary.cpu_seconds) for summary in found.values()])
        rows.append(row)
    return format_table(rows) if rows else ""


def online_table(results: Iterable[Row]) -> str:
    """
    What the online phase adds, task by task, to the runs that went through both phases.

    :param results: rows of results.
    """
    of_runs: dict[tuple[str, str, str], list[Row]] = {}
    for row in results:
        if not row.get("variant"):
            of_runs.setdefault((row["task"], row["algo"], row["seed"]), []).append(row)
    both = [row for of_run in of_runs.values() if len(of_run) == 2 for row in of_run]
    rows = []
    for task, of_task in summarize(both).items():
        for method, after in of_task.items():
            if method.phase == "online":
                before = of_task[Method(method.algo)]
                rows.append(
                    {
                        "task": task,
                        "method": method.label,
                        "offline": format_interval(before.interval),
                        "after online": format_interval(after.interval),
                        "gain": f"{after.interval.mean - before.interval.mean:+.1f}",
                        "env steps": f"{after.n_env_steps:,.0f}",
                        "seeds": len(after.scores),
                        "CPU s offline / online": f"{before.cpu_seconds:.0f} / {after.cpu_seconds:.0f}",
                    }
                )
    return format_table(rows) if rows else ""


def ablation_table(summaries: Mapping[str, Mapping[Method, Summary]], phase: str) -> str:
    """
    Score of each ablation with its interval, then its difference from the recipe, by task.

    :param summaries: by task and method.
    :param phase: "offline" or "online".
    """
    variants = list(dict.fromkeys(method for of_task in summaries.values() for method in of_task if method.variant))
    variants = [method for method in variants if method.phase == phase]
    if not any(Method(variant.algo, "", phase) in of_task for variant in variants for of_task in summaries.values()):
        return ""
    recipe = Method(variants[0].algo, "", phase)
    rows = []
    for method in [recipe, *variants]:
        row = {f"ablation, {phase}": method.variant or "the recipe"}
        counts = []
        for task, of_task in summaries.items():
            if recipe not in of_task:
                continue
            found = of_task.get(method)
            row[task] = format_interval(found.interval) if found else ""
            if found and method.variant:
                row[task] += f", {found.interval.mean - of_task[recipe].interval.mean:+.1f}"
            counts += [len(found.scores)] if found else []
        rows.append({**row, "seeds": format_count(counts)})
    return format_table(rows)


def published_table(tasks: Sequence[str], path: Path = PUBLISHED) -> str:
    """
    What others have published for the tasks, on data that ours is not.

    :param tasks: names of the tasks.
    :param path: CSV file with the columns method, information, task, score and source.
    """
    rows: dict[str, dict[str, str]] = {}
    for entry in read_rows(path):
        if entry["task"] in tasks:
            empty = {"published, original D4RL data": entry["method"], "told of rewards": entry["information"]}
            row = rows.setdefault(entry["method"], {**empty, **dict.fromkeys(tasks, ""), "source": entry["source"]})
            row[entry["task"]] = entry["score"]
    ordered = sorted(rows.values(), key=lambda row: row["told of rewards"] == "step")
    return format_table(ordered) if ordered else ""


def format_interval(interval: Interval) -> str:
    """
    A mean and its interval, with one decimal.

    :param interval: NaN ends are left out.
    """
    ends = "" if math.isnan(interval.low) else f" ({interval.low:.1f} to {interval.high:.1f})"
    return f"{interval.mean:.1f}{ends}"


def format_count(counts: Sequence[int]) -> str:
    """
    A number, or the range of several.

    :param counts: at least one.
    """
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
