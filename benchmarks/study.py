"""Studies of Optuna that several processes share: where they are kept, when they end, what is left of them."""

import os
import socket
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.record import write_rows
from sb3_gac.extra import require
from sb3_gac.plots.figure import GREY, INK, make_figure, save_figure, tidy

if TYPE_CHECKING:
    import optuna

N_STARTUP_TRIALS = 5
# Evaluations that no trial is pruned before: the first one tells little
N_WARMUP_EVALUATIONS = 2
MIN_TRIALS_TO_COMPARE = 4
HEARTBEAT_SECONDS = 60
GRACE_SECONDS = 300
GRPC_PORT = 13000
PROXY_SECONDS = 10.0


def open_storage(url: str) -> "optuna.storages.BaseStorage":
    """
    Open the storage of a study.

    :param url: path of a journal file that ends in ``.log``; ``grpc://host:port`` of a proxy, see :func:`serve`; or what
        SQLAlchemy takes, such as ``sqlite:///study.db``, ``postgresql+psycopg://user@host/database`` or ``mysql+pymysql://...``.
    :raises ConnectionError: when no proxy answers, or the database cannot be used.
    :raises ImportError: when Optuna or the driver of a database is missing.
    :raises ValueError: when the url is none of these.
    """
    require("tune", "optuna")
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if url.endswith(".log") and "://" not in url:
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(url))
    if url.startswith("grpc://"):
        require("tune", "grpc", "google.protobuf")
        host, port = _split_address(url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            proxy = optuna.storages.GrpcStorageProxy(host=host, port=port)
        try:
            proxy.wait_server_ready(timeout=PROXY_SECONDS)
        except ConnectionError as error:
            raise ConnectionError(f"no storage answers at {url}: start one with --serve {host}:{port}") from error
        return proxy
    if "://" not in url:
        raise ValueError(f"a storage is a journal file ending in .log, grpc://host:port or the URL of a database, not {url!r}")
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.storages.RDBStorage(url, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        shown = make_url(url).render_as_string(hide_password=True)
        raise ConnectionError(f"the database {shown} cannot be used: {error}") from error


def serve(url: str, address: str) -> None:
    """
    Serve a database to many workers by Optuna's gRPC proxy, until the process is stopped.

    :param url: the database, as for :func:`open_storage`.
    :param address: ``host:port`` to listen on.
    :raises ValueError: when the storage is no database: Optuna's proxy serves no other.
    """
    require("tune", "optuna", "grpc", "google.protobuf")
    import optuna

    if "://" not in url or url.startswith("grpc://"):
        raise ValueError(f"the proxy serves a database, such as sqlite:///study.db, not {url!r}")
    host, port = _split_address(f"grpc://{address}")
    optuna.storages.run_grpc_proxy_server(optuna.storages.get_storage(url), host=host, port=port)


def open_study(name: str, url: str, seed: int, worker: int) -> "optuna.Study":
    """
    Open a study, or create it: median pruning, and a sampler that knows of the trials that others are running.

    :param name: its name.
    :param url: its storage, see :func:`open_storage`.
    :param seed: of the sampler.
    :param worker: number of this worker: each has random numbers of its own, and others again after a resumption.
    """
    storage = open_storage(url)
    import optuna

    pruner = optuna.pruners.MedianPruner(n_startup_trials=N_STARTUP_TRIALS, n_warmup_steps=N_WARMUP_EVALUATIONS)
    study = optuna.create_study(storage=storage, study_name=name, pruner=pruner, direction="maximize", load_if_exists=True)
    state = np.random.SeedSequence([seed, worker, len(study.get_trials(deepcopy=False))]).generate_state(1)
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=N_STARTUP_TRIALS, constant_liar=True, seed=int(state[0]))
    return study


def counted_trials(study: "optuna.Study", before: int | None = None) -> int:
    """
    Trials that count towards the number asked for: those that have ended by themselves, and those that are running.

    :param study: the study.
    :param before: count only trials with a lower number.
    """
    from optuna.trial import TrialState

    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=counted)
    return sum(before is None or trial.number < before for trial in trials)


def this_worker() -> str:
    """Machine and process, by which :func:`release_trials` knows whom a trial belonged to."""
    return f"{socket.gethostname()}:{os.getpid()}"


def release_trials(study: "optuna.Study") -> list[int]:
    """
    Give up the running trials of processes of this machine that are no more; others will take their place.

    Those of other machines are given up by Optuna where the storage is a database: it misses their heartbeat.

    :param study: the study.
    :return: the numbers of these trials.
    """
    from optuna.trial import TrialState

    released = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = trial.user_attrs.get("worker", "").partition(":")
        if host == socket.gethostname() and not _is_alive(int(process)):
            study.tell(trial.number, state=TrialState.FAIL)
            released.append(trial.number)
    return released


def trial_rows(study: "optuna.Study") -> list[dict[str, Any]]:
    """
    The trials as rows of a table: state, value, evaluations made, seconds, and what was suggested.

    :param study: the study.
    """
    from optuna.trial import TrialState

    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.params]
    names = sorted({name for trial in trials for name in trial.params})
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value if trial.state == TrialState.COMPLETE else "",
            "last_evaluation": _last_value(trial),
            "n_evaluations": len(trial.intermediate_values),
            "seconds": "" if trial.duration is None else round(trial.duration.total_seconds(), 1),
            "worker": trial.user_attrs.get("worker", ""),
            "reason": trial.user_attrs.get("reason", ""),
            **{name: trial.params.get(name, "") for name in names},
        }
        for trial in trials
    ]


def report_study(study: "optuna.Study", folder: Path, unit: str, references: Mapping[str, float] | None = None) -> None:
    """
    Write ``trials.csv`` and draw ``history.png`` and, once there are trials to compare, ``importances.png``.

    :param study: the study.
    :param folder: where.
    :param unit: what is maximised.
    :param references: values to compare with, drawn as horizontal lines with these labels.
    """
    rows = trial_rows(study)
    if rows:
        write_rows(folder / "trials.csv", rows)
        plot_history(study, folder / "history.png", unit, references)
        plot_importances(study, folder / "importances.png")


def plot_history(study: "optuna.Study", path: Path, unit: str, references: Mapping[str, float] | None = None) -> None:
    """
    Draw the value of each trial, that of pruned ones when they were stopped, and the best so far.

    :param study: the study.
    :param path: the PNG file.
    :param unit: what is maximised.
    :param references: values to compare with, drawn as horizontal lines with these labels.
    """
    from matplotlib.ticker import MaxNLocator
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    figure = make_figure(width=6.4, height=3.8)
    axes = figure.subplots()
    if pruned:
        values = [_last_value(trial) for trial in pruned]
        axes.plot([trial.number for trial in pruned], values, "x", color=GREY, label="pruned, when stopped")
    if complete:
        numbers = [trial.number for trial in complete]
        values = [float(trial.value) for trial in complete if trial.value is not None]
        axes.plot(numbers, values, "o", color=INK, markersize=5, label="complete")
        ends = [*numbers, max(trial.number for trial in trials)]
        best = np.maximum.accumulate(values)
        axes.step(ends, [*best, best[-1]], where="post", color=INK, linewidth=1.2, alpha=0.6, label="best so far")
    for line_style, (label, value) in zip(("--", ":", "-."), (references or {}).items(), strict=False):
        axes.axhline(value, color="#a04000", linestyle=line_style, linewidth=1.2, label=label)
    tidy(axes, "trial", unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    figure.suptitle(study.study_name, fontsize=11)
    save_figure(figure, path)


def plot_importances(study: "optuna.Study", path: Path) -> None:
    """
    Draw how much each hyper-parameter tells good trials from bad ones, by PED-ANOVA; nothing with too few trials to tell.

    :param study: the study.
    :param path: the PNG file.
    """
    import optuna
    from optuna.trial import TrialState

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < MIN_TRIALS_TO_COMPARE:
        return
    importances = optuna.importance.get_param_importances(study)
    names, values = list(importances)[::-1], list(importances.values())[::-1]
    figure = make_figure(width=6.0, height=0.8 + 0.28 * len(names))
    axes = figure.subplots()
    bars = axes.barh(names, values, color=INK, alpha=0.8)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_xlabel("importance among the complete trials")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.suptitle(study.study_name, fontsize=11)
    save_figure(figure, path)


def _last_value(trial: "optuna.trial.FrozenTrial") -> Any:
    steps = trial.intermediate_values
    return steps[max(steps)] if steps else ""


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there is no signal 0 there: nobody is declared dead
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _split_address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"expected host:port, not {url.removeprefix('grpc://')!r}")
    return parts.hostname, parts.port or GRPC_PORT
