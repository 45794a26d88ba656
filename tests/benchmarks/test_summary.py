import math

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")

from benchmarks.envs import TASKS
from benchmarks.job import Row, read_rows
from benchmarks.summary import (
    PUBLISHED,
    Method,
    ablation_table,
    format_count,
    format_interval,
    interquartile_mean,
    mixed_data,
    online_table,
    published_table,
    score_table,
    seed_interval,
    stratified_intervals,
    summarize,
)
from sb3_gac.plots.interval import Interval


def make_row(algo: str, score: float, seed: int = 0, **changes: str) -> Row:
    row = {"task": "maze2d-umaze", "algo": algo, "variant": "", "seed": str(seed), "phase": "offline", "score": str(score)}
    costs = {"mean_return": "7.0", "cpu_seconds": "10.0", "n_updates": "3000", "n_env_steps": "0"}
    return {**row, **costs, **changes}


def test_scores_are_gathered_over_the_seeds() -> None:
    rows = [make_row("gac", 10.0, 0), make_row("gac", 20.0, 1, cpu_seconds="30.0"), make_row("iql", 5.0)]
    summaries = summarize(rows)["maze2d-umaze"]
    gac = summaries[Method("gac")]
    assert gac.scores == (10.0, 20.0)
    assert gac.cpu_seconds == 20.0
    # The bootstrap of two values: a quarter of the means is either of them
    assert gac.interval == Interval(15.0, 10.0, 20.0)
    assert summaries[Method("iql")].interval.mean == 5.0
    assert math.isnan(summaries[Method("iql")].interval.low)


def test_rows_of_different_data_are_found() -> None:
    rows = [make_row("gac", 1.0, task=task, data_digest=digest) for task, digest in zip("aabbcc", "xyxxx ", strict=True)]
    rows[-1]["data_digest"] = ""
    assert mixed_data([*rows, make_row("gac", 1.0)]) == {"a": ["x", "y"]}


def test_without_references_the_return_is_the_score() -> None:
    summaries = summarize([make_row("gac", math.nan, task="Pendulum-v1")])
    assert summaries["Pendulum-v1"][Method("gac")].scores == (7.0,)


def test_a_run_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="maze2d-umaze, GAC, offline, seed 0 is there twice"):
        summarize([make_row("gac", 1.0), make_row("gac", 2.0)])


def test_tasks_come_in_the_order_of_the_benchmark() -> None:
    rows = [make_row("gac", 1.0, task=task) for task in ("Pendulum-v1", "hopper-medium", "maze2d-umaze")]
    assert list(summarize(rows)) == ["maze2d-umaze", "hopper-medium", "Pendulum-v1"]


def test_the_interquartile_mean_leaves_out_a_quarter_on_either_side() -> None:
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, 3.0, 4.0, -50.0, 5.0, 0.0])) == pytest.approx(2.5)
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == pytest.approx(3.0)


def test_seeds_are_resampled_within_each_task() -> None:
    # Between tasks there is all the spread, within them none
    mean, middle = stratified_intervals([[0.0, 0.0, 0.0], [90.0, 90.0, 90.0]])
    assert mean == Interval(45.0, 45.0, 45.0)
    assert middle == Interval(45.0, 45.0, 45.0)
    mean, _ = stratified_intervals([[0.0, 10.0], [50.0, 50.0]])
    assert mean == Interval(27.5, 25.0, 30.0)
    mean, _ = stratified_intervals([[1.0], [2.0, 3.0]])
    assert mean.mean == 1.75
    assert math.isnan(mean.low)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_methods_that_see_step_rewards_come_last() -> None:
    rows = [
        *(make_row("iql", score, seed) for seed, score in enumerate((40.0, 60.0))),
        *(make_row("gac", score, seed) for seed, score in enumerate((10.0, 20.0))),
        make_row("gac", 30.0, task="maze2d-medium", n_updates="4000"),
        make_row("gac", 99.0, variant="no-clock"),
        make_row("gac", 77.0, phase="online"),
    ]
    table = cells(score_table(summarize(rows), "offline"))
    assert table[0] == [
        *("after the offline phase", "told of rewards", "maze2d-umaze", "maze2d-medium", "mean", "IQM"),
        *("seeds", "updates", "CPU s"),
    ]
    assert table[2] == ["GAC", "return", "15.0 (10.0 to 20.0)", "30.0", "22.5", "20.0", "1 to 2", "3,000 to 4,000", "10"]
    assert table[3] == ["IQL", "step", "50.0 (40.0 to 60.0)", "", "", "", "2", "3,000", "10"]
    assert len(table) == 4
    assert cells(score_table(summarize(rows), "online"))[2][2] == "77.0"
    assert score_table(summarize([make_row("gac", 1.0)]), "online") == ""


def test_what_the_online_phase_adds() -> None:
    rows = [make_row("gac", 10.0), make_row("gac", 35.5, phase="online", n_env_steps="20000", cpu_seconds="99.6")]
    expected = ["maze2d-umaze", "GAC", "10.0", "35.5", "+25.5", "20,000", "1", "10 / 100"]
    assert cells(online_table(rows))[2] == expected
    assert online_table(rows[:1]) == ""
    # What a seed gained is told by that seed alone: another one that went through one phase only has no say
    others = [make_row("gac", 90.0, seed=1), make_row("gac", 70.0, seed=2, phase="online"), make_row("gac", 5.0, variant="x")]
    assert cells(online_table([*rows, *others]))[2:] == [expected]


def test_ablations_are_compared_with_the_recipe() -> None:
    rows = [
        make_row("gac", 10.0),
        make_row("gac", 4.0, variant="no-clock"),
        make_row("gac", 50.0, task="hopper-medium"),
        make_row("gac", 60.0, task="hopper-medium", variant="plan-4"),
    ]
    table = cells(ablation_table(summarize(rows), "offline"))
    assert [line[0] for line in table[2:]] == ["the recipe", "no-clock", "plan-4"]
    assert table[3][1:] == ["4.0, -6.0", "", "1"]
    assert table[4][1:] == ["", "60.0, +10.0", "1"]
    assert ablation_table(summarize(rows[:1]), "offline") == ""
    assert ablation_table(summarize(rows[1:2]), "offline") == ""


def test_published_numbers_are_labelled_and_have_sources() -> None:
    table = cells(published_table(["maze2d-umaze", "maze2d-large"]))
    assert table[0] == ["published, original D4RL data", "told of rewards", "maze2d-umaze", "maze2d-large", "source"]
    assert table[2] == ["GAC", "return", "67.8", "50.3", "arXiv 2512.21527"]
    assert table[-1][:2] == ["ReBRAC", "step"]
    assert published_table(["Pendulum-v1"]) == ""
    rows = read_rows(PUBLISHED)
    assert {row["task"] for row in rows} == set(TASKS)
    assert all(row["source"] and row["information"] in ("none", "return", "step") for row in rows)
    gac = [float(row["score"]) for row in rows if row["method"] == "GAC" and not row["task"].startswith("maze")]
    assert np.mean(gac) == pytest.approx(66.0, abs=0.05)


def test_formats() -> None:
    assert format_interval(Interval(1.25, math.nan, math.nan)) == "1.2"
    assert format_interval(seed_interval([1.0, 1.0])) == "1.0 (1.0 to 1.0)"
    assert format_count([1000, 3000, 2000]) == "1,000 to 3,000"
    assert format_count([5, 5]) == "5"


def test_the_label_says_which_information() -> None:
    assert Method("dt-return").information == "return"
    assert Method("dt").information == "step"
    assert Method("d3rlpy-bc").information == "none"
    assert Method("gac", "no-clock").label == "GAC, no-clock"
    assert Method("someone-elses").information == "step"
