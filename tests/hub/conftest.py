"""A Hub on this machine, and a client that goes nowhere else."""

from collections.abc import Iterator

import pytest

from tests.hub.local_hub import LocalHub


@pytest.fixture(autouse=True)
def quick(few_updates: None) -> None:
    """Values and rewards take but a moment, in this process."""


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path) -> None:
    """The settings of huggingface_hub, which reads them from the environment when it is first imported."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the local Hub speaks LFS
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # of the processes that tests start
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as server:
        yield server
