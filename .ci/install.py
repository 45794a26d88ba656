"""
`pip install` that takes the CPU build of PyTorch, for `make`, tox and the continuous integration alike.

    python .ci/install.py -e ".[all,dev]"

A plain `torch` may resolve to gigabytes of CUDA libraries. A version that ends in `+cpu` can match nothing but a CPU build.
Set the environment variable TORCH to a requirement of your own, such as `torch==2.13.0`, to have another build.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

# PyTorch publishes no `+cpu` for macOS: the plain wheels are CPU builds there.
CPU_BUILD = "torch==2.13.0" if sys.platform == "darwin" else "torch==2.13.0+cpu"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Compiling modules ahead, most of which are never imported, would take as long as everything else.
PIP_INSTALL = [sys.executable, "-m", "pip", "install", "--no-compile", "--disable-pip-version-check"]


def main(arguments: list[str]) -> int:
    """
    Install PyTorch, then everything else with PyTorch held where it is.

    :param arguments: what `pip install` is to be given
    :return: the exit status of pip
    """
    torch = os.environ.get("TORCH") or CPU_BUILD
    # Old pips, such as those that come with Python 3.10, search these requirements without end.
    subprocess.run([*PIP_INSTALL, "--quiet", "--upgrade", "pip"], stderr=subprocess.DEVNULL)
    # The places pip already knows come first: a machine that is cut off from PyTorch's index need not wait for it.
    if subprocess.run([*PIP_INSTALL, "--quiet", torch], stderr=subprocess.DEVNULL).returncode != 0:
        print(f"{torch} is not on the configured indices, trying {CPU_INDEX}", flush=True)
        status = subprocess.run([*PIP_INSTALL, "--extra-index-url", CPU_INDEX, torch]).returncode
        if status != 0:
            print(f"{torch} cannot be installed here; set TORCH to a requirement that can", file=sys.stderr)
            return status
    constraint = Path(sys.prefix) / "torch-constraint.txt"
    constraint.write_text(f"torch=={version('torch')}\n", encoding="utf-8")
    return subprocess.run([*PIP_INSTALL, "--constraint", str(constraint), *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
