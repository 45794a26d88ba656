"""What the documentation shows runs, and what it says of arguments and options is so."""

import contextlib
import importlib
import inspect
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sb3_gac import GAC
from sb3_gac.inference import Planner
from sb3_gac.policies import LatentPlanPolicy

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
# What pages need beyond the core
EXTRAS = {
    "exporting": ["onnx", "onnxscript", "onnxruntime"],
    "pictures": ["matplotlib", "gymnasium_robotics"],
    "sharing": ["safetensors", "huggingface_hub"],
    "tuning": ["rl_zoo3", "optuna"],
}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A Hub on this machine, for the page that shares a model."""
    constants = pytest.importorskip("huggingface_hub.constants")
    from tests.hub.local_hub import TOKEN, LocalHub

    with LocalHub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_code_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for module in EXTRAS.get(Path(page).stem, []):
        pytest.importorskip(module)
    if Path(page).stem == "sharing":
        request.getfixturevalue("hub")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)


def commands() -> list[tuple[str, str]]:
    """Every command that runs one of our modules, beside its page."""
    found = []
    for page in ["README.md", *PAGES]:
        in_text = re.findall(r"`(python -m [^`]*)`", (ROOT / page).read_text("utf-8"))
        text = "\n".join([*blocks(page, "bash"), *in_text])
        found += [(page, line) for line in re.findall(r"^python -m (.*)$", text, flags=re.MULTILINE)]
    return [(page, line) for page, line in found if line.split()[0].split(".")[0] in ("sb3_gac", "benchmarks")]


def help_of(module: str, *command: str) -> str:
    """What a command prints when asked for help."""
    main = importlib.import_module(module).main
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return output.getvalue()


@pytest.mark.parametrize(("page", "command"), commands())
def test_the_options_of_a_command_exist(page: str, command: str) -> None:
    module, *arguments = shlex.split(command, comments=True)
    options = [word.split("=")[0] for word in arguments if re.match(r"--?[a-z]", word)]
    if module.startswith("sb3_gac."):
        pytest.importorskip({"sb3_gac.zoo": "rl_zoo3"}[module])
        module += ".__main__"
        subcommand = arguments[: 2 if arguments[:1] == ["plots"] else 1]
        text = help_of(module) + help_of(module, *subcommand)
    else:
        text = help_of(module)
    missing = [option for option in options if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)]
    assert not missing, f"{page}: {command}"


def test_the_extras_that_are_named_exist() -> None:
    section = (ROOT / "pyproject.toml").read_text("utf-8").split("[project.optional-dependencies]")[1]
    extras = re.findall(r"^(\w+) = \[", section.split("[project.urls]")[0], flags=re.MULTILINE)
    named = set()
    for page in ["README.md", *PAGES]:
        for names in re.findall(r'"\.\[([\w,]+)\]"', (ROOT / page).read_text("utf-8")):
            named.update(names.split(","))
    assert named and named <= set(extras)


def test_links_between_pages_lead_somewhere() -> None:
    for page in ["README.md", *PAGES]:
        folder = (ROOT / page).parent
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text("utf-8")):
            assert (folder / target).exists(), f"{page}: {target}"


def parameters(*classes: Any) -> dict[str, Any]:
    """The arguments of constructors, without those that every policy is given by SB3."""
    left_out = ("self", "policy", "env", "observation_space", "action_space", "lr_schedule", "noise_dim")
    return {
        name: parameter.default
        for cls in classes
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in left_out and not name.startswith("_") and parameter.kind is not parameter.VAR_KEYWORD
    }


def test_every_parameter_is_on_the_page_with_its_default() -> None:
    text = (ROOT / "docs" / "parameters.md").read_text("utf-8")
    of_gac, of_policy = text.split("## `policy_kwargs`")
    for part, expected in ((of_gac, parameters(GAC)), (of_policy, parameters(Planner, LatentPlanPolicy))):
        rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", part, flags=re.MULTILINE))
        assert rows.keys() == expected.keys()
        for name, default in expected.items():
            written = rows[name]
            if isinstance(default, type):
                assert written.split(".")[-1] == default.__name__, name
            else:
                assert eval(written) == default, name
