"""
Make tables and figures of the results of many runs: a page of Markdown, and its pictures beside it.

    python -m benchmarks.report runs/mazes.csv benchmarks/results/peers.csv --output benchmarks/results --name mazes

The files are those of `python -m benchmarks.sweep` (learning curves are read from NAME-curves.csv beside each), of
`python -m benchmarks.train --results` or of `python -m benchmarks.calibration`. What the rows do not have is left out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.job import Row, read_rows
from benchmarks.plots import PHASES
from benchmarks.record import command, commit, format_table
from benchmarks.report_plots import curves_of, plot_ablations, plot_calibration, plot_curves
from benchmarks.summary import ablation_table, mixed_data, online_table, published_table, score_table, summarize
from benchmarks.sweep import curves_path
from sb3_gac.atomic import replace_when_complete
from sb3_gac.extra import require

NOTES = """Scores are normalised as D4RL's, on **regenerated data**: D4RL's recipes run again, which do not give D4RL scores.
Each is a mean over training seeds with its 95 % bootstrap interval over the seeds (none for a single seed), of the last model,
without choice of checkpoints. The interval of a mean over tasks resamples the seeds within each task; IQM is the mean of
the middle half of all runs. CPU seconds are those of training in one process, evaluations left out."""


class Report:
    """
    A page about some results.

    :param files: CSV files.
    :param output: folder of the page.
    :param name: of the page, and what the names of its pictures begin with.
    :param title: its title.
    :raises FileNotFoundError: when a file is missing.
    :raises ValueError: when a file is neither of results nor of a calibration, or a run is there twice.
    """

    def __init__(self, files: Sequence[Path], output: Path, name: str, title: str) -> None:
        require("plots", "matplotlib")
        self.files, self.output, self.name, self.title = files, output, name, title
        self.results: list[Row] = []
        self.points: list[Row] = []
        self.calibration: list[Row] = []
        for path in files:
            if not path.is_file():
                raise FileNotFoundError(f"no file {path}")
            rows = read_rows(path)
            columns = set(rows[0]) if rows else set()
            if "asked" in columns:
                self.calibration += rows
            elif {"task", "algo", "seed", "phase", "score"} <= columns:
                self.results += rows
                self.points += read_rows(curves_path(path))
            else:
                raise ValueError(
                    f"{path} holds neither results nor a calibration; its columns are {', '.join(sorted(columns))}"
                )
        self.summaries = summarize(self.results)

    def write(self) -> Path:
        """Write the page and its pictures, and return where the page is."""
        self.output.mkdir(parents=True, exist_ok=True)
        found = commit()
        made_by = f"Made by `{command()}`{f' at commit {found}' if found else ''}."
        parts = [f"# {self.title}", made_by, NOTES, self._warning(), *self._tables(), *self._figures()]
        parts.append(self._origin())
        path = self.output / f"{self.name}.md"
        with replace_when_complete(path) as partial:
            partial.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
        return path

    def _warning(self) -> str:
        """Which rows are not to be compared."""
        mixed = [f"{task} ({', '.join(digests)})" for task, digests in mixed_data(self.results).items()]
        return f"**Rows of different data, which say nothing of each other: {'; '.join(mixed)}.**" if mixed else ""

    def _tables(self) -> list[str]:
        parts = []
        for phase in PHASES:
            parts += _section(f"Scores, {phase}", score_table(self.summaries, phase))
        parts += _section("From offline to online", online_table(self.results))
        for phase in PHASES:
            parts += _section(f"Ablations, {phase}", ablation_table(self.summaries, phase))
        published = published_table(list(self.summaries))
        note = "Others' numbers, on the original D4RL data: to be read beside the tables above, not against them."
        return parts + (_section("Published", f"{note}\n\n{published}") if published else [])

    def _figures(self) -> list[str]:
        parts = []
        recipes = [point for point in self.points if not point.get("variant")]
        for phase, curves in curves_of(recipes, "timesteps").items():
            title = f"Learning {phase}, regenerated data: mean over seeds, 95 % interval"
            parts += self._picture(f"curves-{phase}", f"Learning curves, {phase}")
            plot_curves(curves, self._path(f"curves-{phase}"), title, PHASES[phase])
        cost = curves_of(recipes, "cpu_seconds").get("offline", {})
        if cost:
            parts += self._picture("cost", "Score against CPU seconds")
            plot_curves(cost, self._path("cost"), "Score against CPU seconds of offline training", "CPU seconds", is_log=True)
        for phase in PHASES:
            if any(method.variant and method.phase == phase for of_task in self.summaries.values() for method in of_task):
                parts += self._picture(f"ablations-{phase}", f"Ablations, {phase}")
                title = f"Ablations, {phase}: mean, 95 % interval, seeds"
                plot_ablations(self.summaries, phase, self._path(f"ablations-{phase}"), title)
        if self.calibration:
            parts += self._picture("calibration", "Return asked for and achieved")
            parts.append(calibration_table(self.calibration))
            plot_calibration(self.calibration, self._path("calibration"), "Does it return what it is asked for?")
        return parts

    def _path(self, kind: str) -> Path:
        return self.output / f"{self.name}-{kind}.png"

    def _picture(self, kind: str, heading: str) -> list[str]:
        return _section(heading, f"![{heading}]({self._path(kind).name})")

    def _origin(self) -> str:
        """Where the rows are from: files, commands, commits, versions."""
        rows = [*self.results, *self.calibration]
        versions = ("python", "sb3_gac", "stable_baselines3", "torch", "gymnasium", "gymnasium_robotics", "mujoco", "d3rlpy")
        found = {name: sorted({row[name] for row in rows if row.get(name)}) for name in (*versions, "commit", "machine")}
        lines = [f"- {name.replace('_', '-')}: {', '.join(values)}" for name, values in found.items() if values]
        commands = sorted({row["command"] for row in rows if row.get("command")})
        files = ", ".join(f"`{path.as_posix()}`" for path in self.files)
        listing = "\n".join(commands)
        return (
            f"## Where the rows are from\n\n{files}\n\n"
            + "\n".join(lines)
            + f"\n\n<details><summary>{len(commands)} commands</summary>\n\n```\n{listing}\n```\n\n</details>"
        )


def calibration_table(rows: Sequence[Row]) -> str:
    """
    Asked for and achieved, a line each.

    :param rows: of ``benchmarks.calibration``.
    """
    return format_table(
        [
            {
                "task": row["task"],
                "seed": row["seed"],
                "asked": float(row["asked"]),
                "achieved": float(row["mean_return"]),
                "95 % over episodes": f"{float(row['return_low']):.1f} to {float(row['return_high']):.1f}",
                "episodes": row["n_episodes"],
            }
            for row in rows
        ]
    )


def _section(heading: str, text: str) -> list[str]:
    return [f"## {heading}", text] if text else []


def main(arguments: Sequence[str] | None = None) -> None:
    """
    The command.

    :param arguments: those of the command line if None.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="CSV files of results or of calibrations")
    parser.add_argument("--output", type=Path, default=Path("benchmarks") / "results", help="(default: %(default)s)")
    parser.add_argument("--name", help="of the page (default: that of the first file)")
    parser.add_argument("--title", help="of the page (default: its name)")
    given = parser.parse_args(arguments)
    name = given.name or given.files[0].stem
    try:
        report = Report(given.files, given.output, name, given.title or name)
    except (ValueError, FileNotFoundError, ImportError) as error:
        parser.error(str(error))
    print(f"the page is {report.write()}")


if __name__ == "__main__":
    main()
