"""A short slice of `python -m tests.fuzz`."""

import os
from pathlib import Path

import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")
pytest.importorskip("safetensors")
from tests.fuzz.mutation import KINDS
from tests.fuzz.run import GOOD, fuzz


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is read in a process of its own")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_anyone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    found = list(fuzz(tmp_path, 30, kinds=[kind]))
    assert [case for case in found if case[3] not in GOOD] == []
    assert sum(text == "refused" for *_, text in found) > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is read in a process of its own")
@pytest.mark.filterwarnings("ignore")
def test_code_that_runs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr("sb3_gac.data.minari.check_metadata", lambda folder: None)
    monkeypatch.setattr("tests.fuzz.mutation.mutate_json", lambda data, rng: data.pop("observation_space", ""))
    found = [text for *_, text in fuzz(tmp_path, 3, kinds=["minari metadata"])]
    assert any(text.startswith("runs code") for text in found)
