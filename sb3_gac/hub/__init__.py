"""Sharing models: files without pickles, and the Hugging Face Hub."""

from sb3_gac.hub.plain import allow_class
from sb3_gac.hub.safe import load_safe, save_safe

__all__ = ["allow_class", "load_safe", "save_safe"]
