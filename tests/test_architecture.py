"""The rooms of the project import in one direction; the imports are read from the source, nothing is run for it."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sb3_gac
import sb3_gac.data
from sb3_gac.inference import Planner
from sb3_gac.policies import LatentPlanPolicy

ROOT = Path(__file__).resolve().parents[1]

# A room may import whatever stands left of it in any chain, never what stands right. `__init__` is the package's own door: the
# house behind it is imported by module path, and what stands right of `gac` are its guests.
CHAINS = (
    "type_aliases -> networks -> inference -> policies -> trajectory_algorithm -> offline_algorithm -> gac",
    "type_aliases -> data -> trajectory_algorithm",
    "type_aliases -> networks -> credit -> gac",
    "type_aliases -> exploration -> trajectory_algorithm",
    "offline_env -> offline_algorithm",
    "atomic -> trajectory_algorithm",
    "arguments -> inference",
    "scaling -> policies",
    "scaling -> data -> rollout_env -> trajectory_algorithm",
    "random_state -> data",
    "lazy -> data",
    "extra -> data",
    "gac -> evaluation -> plots -> hub -> zoo -> benchmarks",
    "gac -> checkpoint -> __init__",
    "extra -> plots",
    "version -> hub -> __init__ -> benchmarks",
)
GUESTS = ("checkpoint", "evaluation", "extra", "hub", "plots", "zoo")
MOST_MODULES = 40
# Arguments that a user may set: of GAC, and of its policy with those that it hands to the planner
MOST_ARGUMENTS, MOST_POLICY_ARGUMENTS = 30, 18

# What `import sb3_gac` must do without: these come with the extras only.
OPTIONAL_MODULES = (
    "d3rlpy",
    "gymnasium_robotics",
    "h5py",
    "huggingface_hub",
    "huggingface_sb3",
    "imageio_ffmpeg",
    "matplotlib",
    "minari",
    "mujoco",
    "optuna",
    "ray",
    "rich",
    "rl_zoo3",
    "safetensors",
    "sb3_contrib",
    "tensorboard",
    "tqdm",
)


def rooms_to_the_left() -> dict[str, set[str]]:
    """
    What each room may import.

    :return: for each room of the chains, every room that can be reached by walking left
    """
    left: dict[str, set[str]] = {}
    for chain in CHAINS:
        rooms = chain.split(" -> ")
        for i, room in enumerate(rooms):
            left.setdefault(room, set()).update(rooms[:i])
    # The chains meet: what a neighbour may import, its right neighbour may too. Each pass walks one crossing further.
    for _ in CHAINS:
        for reachable in left.values():
            reachable.update(*(left[neighbour] for neighbour in list(reachable)))
    return left


LEFT = rooms_to_the_left()


def room_of(name: str) -> str | None:
    """
    The room that an imported name belongs to.

    :param name: dotted name, such as `sb3_gac.networks.prior.PlanPrior`
    :return: None for what is not the project's own
    """
    first, *rest = name.split(".")
    if first in ("benchmarks", "tests"):
        return first
    if first != "sb3_gac":
        return None
    # `from sb3_gac import gac` goes to the room, `from sb3_gac import GAC` through the package.
    return rest[0] if rest and rest[0] in LEFT else "__init__"


def imported_names(source: str, package: str) -> Iterator[tuple[int, str]]:
    """
    Every import of a source text, wherever it stands: inside functions and under TYPE_CHECKING too.

    :param source: Python source text
    :param package: the package that relative imports start from
    :return: line number and absolute dotted name of each
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            ancestors = package.split(".")
            parents = ancestors[: len(ancestors) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node.lineno, base if alias.name == "*" else f"{base}.{alias.name}") for alias in node.names)


def wrong_imports(source: str, path: str) -> list[str]:
    """
    What a file of the project imports against the direction.

    :param source: Python source text
    :param path: where it stands, relative to the root of the project, with forward slashes
    :return: one sentence for each wrong import; also one when the file stands in no room
    """
    *packages, file = path.removesuffix(".py").split("/")
    room = packages[0] if packages[0] == "benchmarks" else [*packages, file][1]
    if room not in LEFT:
        return [f"{path}: no room for it, give it a place in CHAINS"]
    found = [(line, name, room_of(name)) for line, name in imported_names(source, ".".join(packages))]
    return [
        f"{path}:{line}: {room} must not import {name}"
        for line, name, other in found
        if other is not None and other != room and other not in LEFT[room]
    ]


FILES = sorted(path.relative_to(ROOT).as_posix() for part in ("sb3_gac", "benchmarks") for path in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_imports_go_one_way(path: str) -> None:
    assert wrong_imports((ROOT / path).read_text(encoding="utf-8"), path) == []


def test_there_are_files_to_check() -> None:
    assert "sb3_gac/__init__.py" in FILES


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sb3_gac/networks/prior.py", "from sb3_gac.data.buffer import TrajectoryReplayBuffer"),
        ("sb3_gac/networks/prior.py", "from sb3_gac.inference import elbo"),
        ("sb3_gac/inference/elbo.py", "from sb3_gac.data import Trajectory"),
        ("sb3_gac/data/buffer.py", "import sb3_gac.networks.prior as prior"),
        ("sb3_gac/networks/prior.py", "from sb3_gac.credit import fit_advantages"),
        ("sb3_gac/credit/advantage.py", "from sb3_gac.data import TrajectoryReplayBuffer"),
        ("sb3_gac/credit/advantage.py", "from sb3_gac.gac import GAC"),
        ("sb3_gac/exploration.py", "from sb3_gac.policies import LatentPlanPolicy"),
        ("sb3_gac/data/buffer.py", "from sb3_gac import inference"),
        ("sb3_gac/policies.py", "from sb3_gac.data import Trajectory"),
        ("sb3_gac/policies.py", "def build():\n    from sb3_gac.gac import GAC"),
        ("sb3_gac/policies.py", "from sb3_gac import GAC"),
        ("sb3_gac/policies.py", "from sb3_gac import *"),
        ("sb3_gac/networks/prior.py", "from ..policies import LatentPlanPolicy"),
        ("sb3_gac/networks/__init__.py", "from .. import policies"),
        ("sb3_gac/type_aliases.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sb3_gac.gac"),
        ("sb3_gac/hub/push.py", "import benchmarks.demo"),
        ("sb3_gac/hub/push.py", "from sb3_gac import GAC"),
        ("sb3_gac/zoo/download.py", "def load():\n    from sb3_gac import load_from_hub"),
        ("sb3_gac/checkpoint.py", "import sb3_gac"),
        ("sb3_gac/plots/maze.py", "from sb3_gac.hub.push import push_to_hub"),
        ("sb3_gac/gac.py", "def load():\n    from sb3_gac.checkpoint import load_checkpoint"),
        ("sb3_gac/__init__.py", "from benchmarks import demo"),
        ("benchmarks/offline.py", "from tests.test_architecture import ROOT"),
        ("sb3_gac/utils.py", "import math"),
        ("sb3_gac/helpers/text.py", ""),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert len(wrong_imports(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sb3_gac/networks/prior.py", "import torch as th\nfrom sb3_gac.type_aliases import ElboTerms"),
        ("sb3_gac/networks/decoder.py", "from .prior import PlanPrior"),
        ("sb3_gac/credit/advantage.py", "from sb3_gac.networks import RewardPredictor\nimport sb3_gac.type_aliases"),
        ("sb3_gac/gac.py", "from sb3_gac.credit import fit_advantages\nfrom sb3_gac.exploration import RandomPolicies"),
        ("sb3_gac/gac.py", "from sb3_gac.data import Trajectory\nfrom sb3_gac.networks import PlanPrior"),
        ("sb3_gac/hub/safe.py", "from sb3_gac.version import __version__\nfrom sb3_gac.gac import GAC"),
        (
            "sb3_gac/zoo/download.py",
            "from sb3_gac.hub.push import load_from_hub\nfrom sb3_gac.plots.figure import save_figure",
        ),
        ("sb3_gac/__init__.py", "from sb3_gac.hub import load_from_hub"),
        ("benchmarks/offline.py", "import benchmarks.envs\nfrom sb3_gac import GAC\nfrom sb3_gac.data import load_dataset"),
    ],
)
def test_a_right_import_passes(path: str, source: str) -> None:
    assert wrong_imports(source, path) == []


def run(program: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_imports_without_the_extras() -> None:
    # A module that is None in sys.modules raises ModuleNotFoundError, as one that is not installed.
    run(f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL_MODULES})); import sb3_gac")


def test_the_package_is_light() -> None:
    modules = run("import sys, sb3_gac; print(*(name for name in sys.modules if name.startswith('sb3_gac')))").split()
    assert "sb3_gac.gac" in modules
    assert [name for name in modules if (room_of(name) or "") in GUESTS] == []
    assert len(modules) <= MOST_MODULES, sorted(modules)


def arguments(*classes: type) -> set[str]:
    """Names of the arguments of constructors, without those that are not the user's to set."""
    names = {
        name
        for cls in classes
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and not name.startswith("_")
    }
    return names - {"observation_space", "action_space", "lr_schedule", "noise_dim"}


def test_the_arguments_are_few() -> None:
    assert len(arguments(sb3_gac.GAC)) <= MOST_ARGUMENTS
    assert len(arguments(LatentPlanPolicy, Planner)) <= MOST_POLICY_ARGUMENTS


def test_every_name_of_a_package_is_found_when_it_is_asked_for() -> None:
    for package in (sb3_gac, sb3_gac.data):
        assert all(getattr(package, name) is not None for name in package.__all__)
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
            _ = package.nothing
