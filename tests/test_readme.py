"""The README's ten lines do what they say; those about sharing a model are run in tests/hub."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
COUNTS = "print('updates', model._n_offline_updates, model._n_updates)"


def test_example_runs_and_leaves_a_model(tmp_path):
    """In an interpreter of its own, as users run it: what other tests leave behind changes what a seed gives."""
    example, *_ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    command = [sys.executable, "-W", "ignore", "-c", f"{example}\n{COUNTS}"]
    output = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert (tmp_path / "gac_cartpole.zip").exists()
    n_offline_updates, n_updates = map(int, re.findall(r"^updates (\d+) (\d+)$", output, re.MULTILINE)[0])
    assert n_offline_updates == 500
    assert 500 + 90 <= n_updates <= 500 + 100  # one in ten steps online
    means = [float(text) for text in re.findall(r"^\((?:np\.float64\()?(\d+\.\d+)", output, re.MULTILINE)]
    assert means[0] > 400 and means[1] > 100  # a random policy has 22
