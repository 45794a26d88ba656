"""The lines of the readme and the example, in processes of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.local_hub import TOKEN

ROOT = Path(__file__).parents[2]


def run(hub, tmp_path, *arguments) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def test_the_lines_of_the_readme(hub, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = [block for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "push_to_hub" in block]
    program = (
        "import gymnasium as gym; from sb3_gac import GAC\n"
        "gym.spec('CartPole-v1').max_episode_steps = 20\n"
        "made = model = GAC('MlpLatentPolicy', 'CartPole-v1', policy_kwargs=dict(net_arch=[16], n_candidates=8))\n"
        f"env = model.get_env()\n{lines}\n"
        "assert model is not made and model.policy_kwargs == made.policy_kwargs\n"
    )
    done = run(hub, tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "README.md" in hub.repos["your-name/gac-CartPole-v1"].files()


@pytest.mark.parametrize("with_hub", [True, False])
def test_the_example(hub, tmp_path, with_hub):
    arguments = ("--timesteps", "400", "--output", "pendulum", *(("--repo-id", "tester/gac-Pendulum-v1") if with_hub else ()))
    done = run(hub, tmp_path, str(ROOT / "examples" / "share_on_hub.py"), *arguments)
    assert done.returncode == 0, done.stderr
    assert "the same actions" in done.stdout
    assert (tmp_path / "pendulum.safetensors").exists()
    if with_hub:
        assert "README.md" in hub.repos["tester/gac-Pendulum-v1"].files()
    else:
        assert hub.requests == []
