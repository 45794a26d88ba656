"""The README's ten lines do what they say; those about sharing a model are run in tests/hub."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_example_runs_and_leaves_a_model(tmp_path, monkeypatch, capsys):
    example, *_ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    assert (tmp_path / "gac_cartpole.zip").exists()
    model = names["model"]
    assert model._n_offline_updates == 500
    assert 500 + 90 <= model._n_updates <= 500 + 100  # one in ten steps online
    means = [float(text) for text in re.findall(r"^\((?:np\.float64\()?(\d+\.\d+)", capsys.readouterr().out, re.MULTILINE)]
    assert means[0] > 400 and means[1] > 100  # a random policy has 22
