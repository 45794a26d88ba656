"""
One page of tables and pictures from the rows of many runs.

    python -m benchmarks.report benchmarks/results/offline.csv benchmarks/results/online.csv
    python -m benchmarks.report runs/online.csv --curves runs/curves.csv --output runs/page.md

The files are those of `benchmarks.offline` and `benchmarks.online`; curves are drawn beside the page. Without --output it is
printed. `--published` prints scores of papers on the original D4RL data, to be read beside ours, not against them.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.envs import TASKS
from benchmarks.peers import PEERS
from benchmarks.statistics import paired_permutation_p, permutation_p, stratified_interval, t_interval
from benchmarks.table import Row, format_table, from_root, read_rows
from sb3_gac.atomic import replace_when_complete
from sb3_gac.plots.curve import Curve, plot_curves
from sb3_gac.plots.figure import save_figure
from sb3_gac.plots.interval import Interval

PUBLISHED = Path(__file__).with_name("published.csv")
LABELS = {"gac": "GAC", "bc": "BC", "bc10": "10 % BC"} | {name: peer.label for name, peer in PEERS.items()}
NOTES = """Means over training seeds with 95 % t intervals, of the last models. IQM is the mean of the middle half of all runs,
with its stratified bootstrap interval. † differs from GAC: exact permutation test, p < .05 (impossible with three seeds each).
Offline scores are normalised as D4RL's, on **regenerated data**: D4RL's recipes run again, which do not give D4RL scores."""

# Scores by task and method, each by seed
Scores = dict[str, dict[str, dict[str, float]]]


def method_of(row: Row) -> str:
    """The label of an algorithm with its control and overrides; GAC in one environment is told from GAC in several."""
    changes = "" if row["overrides"] == "{}" else row["overrides"]
    envs = "in one environment" if row["algo"] == "gac" and row.get("n_envs") == "1" else ""
    return " ".join(filter(None, (LABELS.get(row["algo"], row["algo"].upper()), row["control"], changes, envs)))


def collect(rows: Sequence[Row], task: str, value: str) -> Scores:
    """
    The values of rows by task, method and seed, the first one where a seed is there twice, in the order of the tasks.

    :param task: Name of the column of the task.
    :param value: Name of the column of the value; rows without one are left out. Without a score it is the mean return.
    """
    scores: Scores = {}
    for row in rows:
        text = row[value.replace("score", "mean_return")] if row[value] == "nan" else row[value]
        if text:
            scores.setdefault(row[task], {}).setdefault(method_of(row), {}).setdefault(row["seed"], float(text))
    known = {name: index for index, name in enumerate(TASKS)}
    return dict(sorted(scores.items(), key=lambda item: (known.get(item[0], len(known)), item[0])))


def score_table(rows: Sequence[Row], task: str, value: str) -> str:
    """
    A line per method, a column per task: mean, interval, mark of a difference from GAC; and what the runs cost.

    Of normalised scores there is an IQM over all tasks, too; see :func:`collect` for the arguments.
    """
    scores = collect(rows, task, value)
    lines = []
    for method in dict.fromkeys(map(method_of, rows)):
        of_method = [row for row in rows if method_of(row) == method]
        line = {"method": method}
        if "information" in of_method[0]:
            line["reward supervision"] = of_method[0]["information"]
        for name, of_task in scores.items():
            values, rivals = (list(of_task.get(each, {}).values()) for each in (method, "GAC"))
            is_other = method != "GAC" and values and rivals and permutation_p(values, rivals) < 0.05
            line[name] = format_interval(t_interval(values)) + (" †" if is_other else "") if values else ""
        if len(scores) > 1 and value == "score":
            found = [list(of_task[method].values()) for of_task in scores.values() if method in of_task]
            line["IQM"] = format_interval(stratified_interval(found)) if len(found) == len(scores) else ""
        line["seeds"] = format_count([len(of_task[method]) for of_task in scores.values() if method in of_task])
        for label, name in {"CPU s": "train_cpu_s", "updates": "n_updates", "parameters": "n_parameters"}.items():
            line[label] = format_count([round(float(row[name])) for row in of_method if row[name]])
        lines.append(line)
    return format_table(lines)


def search_table(rows: Sequence[Row]) -> str:
    """What the same models score with the best plans, the prior's mean and random plans: rows of GAC without a control."""
    columns = {"best plan": "score", "prior mean": "prior_mean_score", "random plan": "random_plan_score"}
    scores = {label: collect(rows, "task", column) for label, column in columns.items()}
    lines = []
    for task in scores["best plan"]:
        of_task = {label: list(found[task]["GAC"].values()) for label, found in scores.items()}
        line = {"task": task} | {label: format_interval(t_interval(values)) for label, values in of_task.items()}
        lines.append({**line, "seeds": str(len(of_task["best plan"]))})
    return format_table(lines)


def gain_table(rows: Sequence[Row]) -> str:
    """What learning online adds to the same models, task by task: rows of offline-to-online runs."""
    before, after = collect(rows, "task", "score"), collect(rows, "task", "online_score")
    lines = []
    for task, of_task in after.items():
        for method, scores in of_task.items():
            starts = before[task][method]
            gains = [score - starts[seed] for seed, score in scores.items()]
            line = {"task": task, "method": method, "offline": format_interval(t_interval(list(starts.values())))}
            line |= {"after online": format_interval(t_interval(list(scores.values())))}
            line |= {"gain": format_interval(t_interval(gains)), "p": f"{paired_permutation_p(gains):.2f}"}
            lines.append({**line, "seeds": str(len(gains))})
    return format_table(lines)


def published_table(tasks: Sequence[str]) -> str:
    """What others have published for tasks, on data that ours is not."""
    rows: dict[str, dict[str, str]] = {}
    for entry in read_rows(PUBLISHED):
        if entry["task"] in tasks:
            empty = {"method": entry["method"], "reward supervision": entry["information"], **dict.fromkeys(tasks, "")}
            row = rows.setdefault(entry["method"], {**empty, "source": entry["source"]})
            row[entry["task"]] = entry["score"]
    return format_table(sorted(rows.values(), key=lambda row: row["reward supervision"] == "step")) if rows else ""


def format_interval(interval: Interval) -> str:
    """A mean and its interval, with one decimal; NaN ends are left out."""
    ends = "" if math.isnan(interval.low) else f" ({interval.low:.1f} to {interval.high:.1f})"
    return f"{interval.mean:.1f}{ends}"


def format_count(counts: Sequence[int]) -> str:
    """A number, the range of several, or nothing of none."""
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def draw_curves(points: Sequence[Row], folder: Path) -> list[Path]:
    """Draw the learning curves of rows of ``--curves``, a picture for each task; return the pictures."""
    tasks: dict[str, dict[str, dict[str, list[Row]]]] = {}
    for point in points:
        title = ", ".join(filter(None, (point.get("env") or point["task"], point.get("rewards"), point.get("phase"))))
        tasks.setdefault(title, {}).setdefault(method_of(point), {}).setdefault(point["seed"], []).append(point)
    pictures = []
    for title, methods in tasks.items():
        runs = {method: [_curve(of_seed) for of_seed in seeds.values()] for method, seeds in methods.items()}
        x_label = "gradient steps" if title.endswith(", offline") else "environment steps"
        pictures.append(folder / f"curves-{title.replace(', ', '-')}.png")
        save_figure(plot_curves(runs, title, x_label=x_label), pictures[-1])
    return pictures


def _curve(points: Sequence[Row]) -> Curve:
    steps, returns = ([float(point[name]) for point in points] for name in ("step", "mean_return"))
    return Curve(np.array(steps), np.array(returns)[:, None])


def write_page(files: Sequence[Path], curves: Sequence[Path] = (), output: Path | None = None) -> str:
    """
    The page as Markdown.

    :param output: The page, beside which pictures of the curves are drawn, and which ends with what ``tried.md`` beside it
        says was left out; None for no file.
    :raises ValueError: when a file is of neither command.
    """
    names = " ".join(from_root(path).as_posix() for path in files)
    parts = ["# Results", f"Made by `python -m benchmarks.report {names}`.", NOTES]
    for path in files:
        rows = read_rows(path)
        if rows and "task" in rows[0]:
            parts += _offline_parts(rows)
        elif rows and "env" in rows[0]:
            for rewards in dict.fromkeys(row["rewards"] for row in rows):
                chosen = [
                    row | {"env": f"{row['env']}, {int(row['steps']):,} steps"} for row in rows if row["rewards"] == rewards
                ]
                parts += [f"## From scratch, online, {rewards} rewards: return", score_table(chosen, "env", "mean_return")]
        else:
            raise ValueError(f"{path} has no rows of benchmarks.offline or benchmarks.online")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        for path in curves:
            parts += [f"![{picture.stem}]({picture.name})" for picture in draw_curves(read_rows(path), output.parent)]
        if (tried := output.parent / "tried.md").exists():
            parts.append(tried.read_text(encoding="utf-8").strip())
        with replace_when_complete(output) as partial:
            partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return "\n\n".join(parts) + "\n"


def _offline_parts(rows: Sequence[Row]) -> list[str]:
    scores = collect(rows, "task", "score")
    parts = ["## Offline: normalised score", score_table(rows, "task", "score")]
    digests = {task: {row["data_digest"] for row in rows if row["task"] == task and row["data_digest"]} for task in scores}
    mixed = [task for task, found in digests.items() if len(found) > 1]
    if mixed:
        parts.append(f"**Rows of different data, which say nothing of each other: {', '.join(mixed)}.**")
    if searched := [row for row in rows if row["algo"] == "gac" and row["prior_mean_score"] and not row["control"]]:
        parts += ["## What searching plans is worth: normalised score of the same models", search_table(searched)]
    if finetuned := [row for row in rows if row["online_score"]]:
        parts += ["## Offline to online: normalised score", gain_table(finetuned)]
    return parts


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = argparse.ArgumentParser("benchmarks.report", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="tables")
    parser.add_argument("--curves", nargs="+", type=Path, default=[], help="tables of learning curves")
    parser.add_argument("--output", type=Path, help="the page, a Markdown file")
    parser.add_argument("--published", nargs="*", metavar="TASK", help="print what others published for tasks (all), and stop")
    given = parser.parse_args(arguments)
    if given.published is not None:
        return print(published_table(given.published or list(TASKS)))
    try:
        page = write_page(given.files, given.curves, given.output)
    except (ValueError, ImportError) as error:
        parser.error(str(error))
    print(page if given.output is None else f"the page is {given.output}")


if __name__ == "__main__":
    main()
