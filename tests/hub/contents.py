"""What stands in the file of a model, to be changed by anyone."""

from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from sb3_gac.hub.safe import FORMAT, Tensors, _digest


def read(file: Path) -> tuple[str, Tensors]:
    """The JSON and the tensors of a file."""
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}
        return opened.metadata()["description"], tensors


def write(file: Path, text: str, tensors: Tensors, **metadata: Any) -> None:
    """Write a file with the digest that belongs to it."""
    save_file(tensors, file, {"format": FORMAT, "description": text, "sha256": _digest(text, tensors), **metadata})
