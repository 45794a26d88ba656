"""The README's ten lines do what they say; those about sharing a model are run in tests/hub."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_example_runs_and_leaves_a_model(tmp_path, monkeypatch, capsys):
    example, *_ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    assert (tmp_path / "gac_pendulum.zip").exists()
    model = names["model"]
    assert model._n_offline_updates == 200
    assert model._n_updates == 200 + 5 * 20  # an episode of Pendulum has 200 steps
    mean, std = map(float, re.findall(r"-?\d+\.\d+", capsys.readouterr().out))
    assert -2000 < mean < 0 and std >= 0  # the bounds of an episode's return
