"""
Learn online, from scratch: one algorithm, one environment, one seed, and one row of a CSV file.

    python -m benchmarks.online --algo gac --env Pendulum-v1 --steps 60000 --seed 10
    python -m benchmarks.online --algo gac ppo ars --env CartPole-v1 Acrobot-v1 --steps 50000 --seed 10 11 12 --jobs 2
    python -m benchmarks.online --algo gac --env Pendulum-v1 --steps 60000 --seed 10 --terminal-reward --control no-plan
    python -m benchmarks.online --summary benchmarks/results/online.csv

GAC runs with its defaults, its peers with the tuned parameters of the RL Zoo. Jobs whose row exists are skipped.
"""

import argparse
import ast
import csv
import importlib
import importlib.metadata
import importlib.util
import io
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox, IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, sync_envs_normalization
from torch import nn

from benchmarks.job import ROOT, Row, from_root, read_rows
from benchmarks.record import format_table

# Changes of GAC by the name of the control; dotted names enter dicts, as with --set
CONTROLS: dict[str, dict[str, Any]] = {
    "no-weights": {"advantage_temperature": None},
    "no-plan": {"kl_coef": 1000.0},
}
ALGOS = {
    "gac": "sb3_gac:GAC",
    "ppo": "stable_baselines3:PPO",
    "sac": "stable_baselines3:SAC",
    "dqn": "stable_baselines3:DQN",
    "ars": "sb3_contrib:ARS",
    "tqc": "sb3_contrib:TQC",
    "qrdqn": "sb3_contrib:QRDQN",
}
# Sizes of the identity environments are those of SB3's own tests
IDENTITY_ENVS: dict[str, Callable[[], gym.Env[Any, Any]]] = {
    "identity-discrete": lambda: IdentityEnv(4),
    "identity-box": lambda: IdentityEnvBox(eps=0.5),
    "identity-multidiscrete": lambda: IdentityEnvMultiDiscrete(4),
    "identity-multibinary": lambda: IdentityEnvMultiBinary(4),
}
UNSUPPORTED = ("env_wrapper", "vec_env_wrapper", "frame_stack", "callback", "noise_type", "replay_buffer_class")
OUT = Path(__file__).parent / "results" / "online.csv"
EVAL_SEED = 1000  # plus the seed of the training
N_EVAL_EPISODES = 20
N_CURVE_EPISODES = 10
N_TRAIN_EPISODES = 20
PACKAGES = ("stable_baselines3", "sb3_contrib", "rl_zoo3", "torch", "gymnasium")
KEY_COLUMNS = ("algo", "env", "steps", "seed", "n_envs", "rewards", "control", "overrides")
COLUMNS = (
    *KEY_COLUMNS,
    *("settings", "mean_return", "std_return", "min_return", "n_eval_episodes", "n_env_steps", "train_cpu_s", "ms_per_step"),
    *("n_parameters", "n_updates", "commit", "versions", "date", "command"),
)


class TerminalReward(gym.Wrapper[Any, Any, Any, Any]):
    """Pay the sum of an episode's rewards at its last step, and 0 before."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self.episode_return = 0.0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Withhold the reward until the episode is terminated or truncated."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.episode_return += float(reward)
        return observation, self.episode_return if terminated or truncated else 0.0, terminated, truncated, info


@dataclass(frozen=True)
class Settings:
    """
    How an algorithm is made: its arguments, training environments, arguments of VecNormalize if any, and where they are from.

    ``source`` is "zoo", "zoo:ID" for the entry of another version of the environment, or "defaults".
    """

    params: dict[str, Any]
    n_envs: int
    normalize: dict[str, Any] | None
    source: str


@dataclass(frozen=True)
class Job:
    """
    One training.

    :param algo: one of ``ALGOS``.
    :param env: Gymnasium id, or one of ``IDENTITY_ENVS``.
    :param steps: environment steps.
    :param seed: of the training.
    :param n_envs: training environments; None for those of the settings.
    :param rewards: "step", or "terminal" to train on returns only.
    :param control: one of ``CONTROLS``; empty for none.
    :param overrides: arguments that take the place of the settings'; dotted names enter dicts.
    """

    algo: str
    env: str
    steps: int
    seed: int = 0
    n_envs: int | None = None
    rewards: str = "step"
    control: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tells it from other jobs, for people."""
        parts = (self.algo, self.control, json.dumps(self.overrides) if self.overrides else "", self.env)
        return f"{' '.join(filter(None, parts))}, {self.rewards} rewards, seed {self.seed}"

    def resolve(self) -> Settings:
        """Its settings, overrides included."""
        source, params = ("defaults", {}) if self.algo == "gac" else zoo_params(self.algo, self.env)
        policy = "MlpLatentPolicy" if self.algo == "gac" else "MlpPolicy"
        params = {"policy": policy, **params}
        if self.algo == "gac" and self.rewards == "terminal":
            params["return_only"] = True
        for name, value in {**CONTROLS.get(self.control, {}), **self.overrides}.items():
            *outer, last = name.split(".")
            inner = params
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = value
        zoo_n_envs, normalize = params.pop("n_envs", 1), params.pop("normalize", False)
        # ARS counts the steps of several environments wrongly; the zoo gives it one
        n_envs = 1 if self.algo == "ars" else self.n_envs or zoo_n_envs
        if not normalize:
            return Settings(params, n_envs, None, source)
        gamma = {"gamma": params["gamma"]} if "gamma" in params else {}
        return Settings(params, n_envs, {**(normalize if isinstance(normalize, dict) else {}), **gamma}, source)

    def key(self) -> Row:
        """The columns that tell its row from others."""
        values = (self.algo, self.env, self.steps, self.seed, self.resolve().n_envs, self.rewards, self.control)
        overrides = json.dumps(self.overrides, sort_keys=True)
        return dict(zip(KEY_COLUMNS, [*map(str, values), overrides], strict=True))

    def command(self, options: Sequence[str]) -> list[str]:
        """The command that does this job alone; the options say where results go, and how often to evaluate."""
        words = ["-m", "benchmarks.online", "--algo", self.algo, "--env", self.env, "--steps", str(self.steps)]
        words += ["--seed", str(self.seed), *(["--n-envs", str(self.n_envs)] if self.n_envs else [])]
        words += ["--terminal-reward"] if self.rewards == "terminal" else []
        words += ["--control", self.control] if self.control else []
        overrides = [f"{name}={json.dumps(value)}" for name, value in self.overrides.items()]
        return [*words, *(["--set", *overrides] if overrides else []), *options]


def zoo_params(algo: str, env: str) -> tuple[str, dict[str, Any]]:
    """
    Source and values of the parameters that the installed RL Zoo has tuned for an environment.

    Where the version of the environment has no entry, that of the latest version which has one is taken; without one, none.

    :raises ImportError: when the RL Zoo is missing.
    :raises ValueError: when the entry needs what is not supported here.
    """
    import yaml

    spec = importlib.util.find_spec("rl_zoo3")  # importing it would patch Gymnasium
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the peers' parameters need rl_zoo3: pip install 'sb3_gac[zoo]'")
    path = Path(spec.submodule_search_locations[0], "hyperparams", f"{algo}.yml")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    versions = [name for name in entries if "-v" in env and name.rpartition("-v")[0] == env.rpartition("-v")[0]]
    if not versions:
        return "defaults", {}
    entry = env if env in entries else max(versions, key=lambda name: int(name.rpartition("-v")[2]))
    params = {name: parse_zoo_value(name, value) for name, value in entries[entry].items() if name != "n_timesteps"}
    unsupported = [name for name in UNSUPPORTED if name in params]
    if unsupported:
        raise ValueError(f"the zoo's entry {entry} of {algo} needs {', '.join(unsupported)}")
    return "zoo" if entry == env else f"zoo:{entry}", params


def parse_zoo_value(name: str, value: Any) -> Any:
    """A parameter as SB3 takes it; in the zoo's files, schedules are ``lin_NUMBER`` and dicts may be ``dict(...)``."""
    if name == "train_freq" and isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    if value.startswith("lin_"):
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return _literal(ast.parse(value.strip(), mode="eval").body) if value.startswith("dict(") else value


def _literal(node: ast.AST) -> Any:
    """Value of a literal, in which ``dict(...)`` and classes of ``torch.nn`` may stand; nothing else is evaluated."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {keyword.arg: _literal(keyword.value) for keyword in keywords}
        case ast.Attribute(value=ast.Name(id="nn"), attr=attribute):
            return getattr(nn, attribute)
        case ast.List(elts=elements):
            return [_literal(element) for element in elements]
    return ast.literal_eval(ast.unparse(node))


def make_env(job: Job, n_envs: int, seed: int, is_training: bool) -> VecEnv:
    """Environments behind Monitors, which see the true rewards; what is trained in sees those of the job."""
    wrapper = TerminalReward if is_training and job.rewards == "terminal" else None
    return make_vec_env(IDENTITY_ENVS.get(job.env, job.env), n_envs, seed=seed, wrapper_class=wrapper)


def make_model(job: Job, settings: Settings) -> BaseAlgorithm:
    """The untrained model in its environments."""
    env = make_env(job, settings.n_envs, job.seed, is_training=True)
    if settings.normalize is not None:
        env = VecNormalize(env, **settings.normalize)
    module, _, name = ALGOS[job.algo].partition(":")
    model: BaseAlgorithm = getattr(importlib.import_module(module), name)(
        env=env, seed=job.seed, device="cpu", **settings.params
    )
    return model


def evaluate(model: BaseAlgorithm, job: Job, n_episodes: int) -> list[float]:
    """True returns of the deterministic policy in a fresh environment; the training's random numbers are left alone."""
    env = make_env(job, 1, EVAL_SEED + job.seed, is_training=False)
    normalize = model.get_vec_normalize_env()
    if normalize is not None:
        norm_obs, clip_obs = normalize.norm_obs, normalize.clip_obs
        env = VecNormalize(env, training=False, norm_obs=norm_obs, norm_reward=False, clip_obs=clip_obs)
        sync_envs_normalization(normalize, env)
    numpy_state = np.random.get_state()
    try:
        with th.random.fork_rng(devices=[]):
            th.manual_seed(EVAL_SEED + job.seed)
            returns, _ = evaluate_policy(model, env, n_episodes, deterministic=True, return_episode_rewards=True)
    finally:
        np.random.set_state(numpy_state)
        env.close()
    assert isinstance(returns, list)
    return returns


class CurveCallback(BaseCallback):
    """Evaluate every ``eval_freq`` steps, 0 for never, and keep the CPU seconds of that apart; ``curves`` is a CSV file."""

    def __init__(self, job: Job, eval_freq: int, curves: Path | None) -> None:
        super().__init__()
        self.job, self.eval_freq, self.curves = job, eval_freq, curves
        self.next_step = eval_freq
        self.eval_cpu_s = 0.0
        self.start_cpu_s = time.process_time()

    def _on_training_start(self) -> None:
        self.start_cpu_s = time.process_time()

    def _on_step(self) -> bool:
        if self.eval_freq > 0 and self.num_timesteps >= self.next_step:
            self.next_step += self.eval_freq
            started = time.process_time()
            self._evaluate(started - self.start_cpu_s - self.eval_cpu_s)
            self.eval_cpu_s += time.process_time() - started
        return True

    def _evaluate(self, cpu_s: float) -> None:
        mean = float(np.mean(evaluate(self.model, self.job, N_CURVE_EPISODES)))
        episodes = [info["r"] for info in self.model.ep_info_buffer or ()][-N_TRAIN_EPISODES:]
        train_mean = float(np.mean(episodes)) if episodes else float("nan")
        figures = f"eval {mean:.1f}, training {train_mean:.1f}, {cpu_s:.1f} CPU s"
        print(f"eval {self.job.name}: {self.num_timesteps:,} steps, {figures}", flush=True)
        if self.curves is not None:
            values = {"step": self.num_timesteps, "mean_return": mean, "train_return": train_mean, "train_cpu_s": cpu_s}
            append_row(self.curves, {**self.job.key(), **values})


def run_job(job: Job, eval_freq: int = 0, curves: Path | None = None, options: Sequence[str] = ()) -> dict[str, Any]:
    """Train and evaluate, and return the row of the result; ``options`` are those of :meth:`Job.command`, for the record."""
    th.set_num_threads(1)
    settings = job.resolve()
    made_by = {"commit": commit(), "versions": versions(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    model = make_model(job, settings)
    callback = CurveCallback(job, eval_freq, curves)
    started = time.process_time()
    model.learn(job.steps, callback=callback)
    train_cpu_s = time.process_time() - started - callback.eval_cpu_s
    returns = evaluate(model, job, N_EVAL_EPISODES)
    assert model.env is not None
    model.env.close()
    return {
        **job.key(),
        "settings": settings.source,
        "mean_return": float(np.mean(returns)),
        "std_return": float(np.std(returns)),
        "min_return": float(np.min(returns)),
        "n_eval_episodes": len(returns),
        "n_env_steps": model.num_timesteps,
        "train_cpu_s": round(train_cpu_s, 3),
        "ms_per_step": round(1000 * train_cpu_s / model.num_timesteps, 4),
        "n_parameters": sum(parameter.numel() for parameter in model.policy.parameters()),
        # As the algorithm counts: PPO its epochs, ARS its updates, the others gradient steps
        "n_updates": getattr(model, "_n_updates", 0),
        **made_by,
        "command": shlex.join(["python", *job.command(options)]),
    }


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """
    Append a row to a CSV file that other processes append to as well.

    The header comes with the file, by a link that fails where there is one; the row is a single write at the end.

    :raises ValueError: when the file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            new = Path(folder, path.name)
            new.write_bytes(_csv_line(list(row)))
            try:
                os.link(new, path)
            except FileExistsError:
                pass
    check_columns(path, list(row))
    with path.open("ab", buffering=0) as binary:
        binary.write(_csv_line(list(row.values())))


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse a CSV file that has other columns; one that is not there has none."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            found = next(csv.reader(file), [])
        if found != list(columns):
            raise ValueError(f"{path} has other columns: {', '.join(found)}")


def _csv_line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def find_row(path: Path, job: Job) -> Row | None:
    """The row of a job, whatever commit it is of; None if there is none."""
    key = job.key().items()
    return next((row for row in read_rows(path) if key <= row.items()), None)


def commit() -> str:
    """Hash of the checked-out commit, with "-dirty" if the code differs, which results do not; empty outside of git."""
    git = ["git", "-C", str(ROOT)]
    status = ["status", "--porcelain", "--", "sb3_gac", "benchmarks", "pyproject.toml", ":(exclude)benchmarks/results"]
    try:
        head, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], status)
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}-dirty" if changes else head


def versions() -> str:
    """Versions of the installed packages that a result depends on."""
    found = [package for package in PACKAGES if importlib.util.find_spec(package)]
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in found)


def run_grid(jobs: Sequence[Job], n_workers: int, out: Path, options: Sequence[str]) -> int:
    """Do jobs in processes of one thread each, print a line when one is done, and return how many failed."""
    n_failed = 0
    running: set[subprocess.Popen[str]] = set()
    pool = ThreadPoolExecutor(n_workers)
    try:
        futures = {pool.submit(_run_process, job, options, running): job for job in jobs}
        for i, future in enumerate(as_completed(futures), 1):
            job, (return_code, output) = futures[future], future.result()
            row = find_row(out, job) if return_code == 0 else None
            n_failed += row is None
            line = f"{job.name} failed:\n{output}" if row is None else describe(job, row)
            print(f"[{i}/{len(jobs)}] {line}", flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in tuple(running):  # none, unless this process is stopped
            process.terminate()
    return n_failed


def _run_process(job: Job, options: Sequence[str], running: set[subprocess.Popen[str]]) -> tuple[int, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *job.command(options)]
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        running.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            if line.startswith("eval "):
                print(line, end="", flush=True)
        process.wait()
        running.remove(process)
    return process.returncode, "".join(last)


def describe(job: Job, row: Mapping[str, Any]) -> str:
    """A line that says how a job went."""
    mean, std, lowest = (float(row[name]) for name in ("mean_return", "std_return", "min_return"))
    cost = f"{float(row['train_cpu_s']):.0f} CPU s, {float(row['ms_per_step']):.2f} ms per step"
    return f"{job.name}: return {mean:.1f} ± {std:.1f}, lowest {lowest:.1f}, {cost}, settings {row['settings']}"


def summarize(rows: Sequence[Row]) -> str:
    """
    A Markdown table per environment and kind of rewards, a line per method, best mean first.

    :raises ValueError: when a run is there twice.
    """
    tables: dict[tuple[str, str], dict[tuple[str, ...], dict[str, Row]]] = {}
    for row in rows:
        changes = "" if row["overrides"] == "{}" else row["overrides"]
        method = (" ".join(filter(None, (row["algo"], row["control"], changes))), row["steps"], row["n_envs"])
        seeds = tables.setdefault((row["env"], row["rewards"]), {}).setdefault(method, {})
        if row["seed"] in seeds:
            raise ValueError(f"{method[0]} on {row['env']}, {row['rewards']} rewards, seed {row['seed']} is there twice")
        seeds[row["seed"]] = row
    texts = []
    for (env, rewards), methods in tables.items():
        lines: list[dict[str, Any]] = []
        for (label, steps, n_envs), seeds in methods.items():
            means = [float(row["mean_return"]) for row in seeds.values()]
            line = {"method": label, "steps": f"{int(steps):,}", "envs": n_envs, "seeds": len(seeds)}
            line |= {"mean": float(np.mean(means)), "worst seed": min(means)}
            line["CPU s per run"] = float(np.mean([float(row["train_cpu_s"]) for row in seeds.values()]))
            for name in ("settings", "commit"):
                line[name] = ", ".join(sorted({row[name] for row in seeds.values()}))
            lines.append(line)
        lines.sort(key=lambda line: -line["mean"])
        texts.append(f"### {env}, {rewards} rewards\n\n{format_table(lines)}")
    return "\n\n".join(texts)


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Overrides from the command line, each ``name=value`` with a value in YAML."""
    import yaml

    overrides = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, not {argument!r}")
        value = yaml.safe_load(text)
        try:
            value = float(value) if isinstance(value, str) else value  # 1e-3 is a string to YAML
        except ValueError:
            pass
        overrides[name] = value
    return overrides


def make_jobs(given: argparse.Namespace) -> list[Job]:
    """The jobs of a command, seed by seed, so that a grid that is stopped has something of everything."""
    overrides = parse_overrides(given.set)
    controls = ["" if control == "none" else control for control in given.control]
    if any(controls) and given.algo != ["gac"]:
        raise ValueError("controls are of gac alone")
    rewards = "terminal" if given.terminal_reward else "step"
    return [
        Job(algo, env, given.steps, seed, given.n_envs, rewards, control, overrides)
        for seed, env, algo, control in itertools.product(given.seed, given.env, given.algo, controls)
    ]


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser("benchmarks.online", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--algo", nargs="+", choices=ALGOS, help="algorithms")
    parser.add_argument("--env", nargs="+", help=f"Gymnasium ids, or {', '.join(IDENTITY_ENVS)}")
    parser.add_argument("--steps", type=int, help="environment steps of a training")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="seeds of the trainings")
    parser.add_argument("--n-envs", type=int, help="training environments (default: the zoo's, 1 for gac; always 1 for ars)")
    parser.add_argument("--terminal-reward", action="store_true", help="pay an episode's return at its last step in training")
    parser.add_argument("--control", nargs="+", choices=["none", *CONTROLS], default=["none"], help="controls of gac")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="such as policy_kwargs.plan_dim=8")
    parser.add_argument("--eval-freq", type=int, default=0, help="steps between evaluations during training (default: none)")
    parser.add_argument("--curves", type=Path, help="CSV file that gets a row per evaluation during training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--out", type=Path, default=OUT, help="CSV file that gets a row per training (default: %(default)s)")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="print the results of a CSV file as Markdown, and stop")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are those of the command line if None."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    try:
        if given.summary:
            print(summarize(read_rows(given.summary)))
            return
        if not (given.algo and given.env and given.steps):
            raise ValueError("--algo, --env and --steps are needed")
        jobs = make_jobs(given)
        check_columns(given.out, COLUMNS)  # before hours of training
        to_do = [job for job in jobs if find_row(given.out, job) is None]
    except (ValueError, ImportError) as error:
        parser.error(str(error))
    if len(to_do) < len(jobs):
        print(f"{len(jobs) - len(to_do)} of {len(jobs)} jobs have a row in {given.out}", flush=True)
    options = ["--out", str(from_root(given.out))]
    options += ["--eval-freq", str(given.eval_freq)] if given.eval_freq else []
    options += ["--curves", str(from_root(given.curves))] if given.curves else []
    if len(jobs) > 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops the processes of the grid
        sys.exit(run_grid(to_do, given.jobs, given.out, options) > 0)
    for job in to_do:
        row = run_job(job, given.eval_freq, given.curves, options)
        append_row(given.out, row)
        print(describe(job, row), flush=True)


if __name__ == "__main__":
    main()
