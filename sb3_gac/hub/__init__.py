"""Sharing models: a file without pickles, and the Hugging Face Hub."""

from sb3_gac.hub.plain import allow_class
from sb3_gac.hub.push import HubError, load_from_hub, push_to_hub
from sb3_gac.hub.safe import load_safe, save_safe

__all__ = ["HubError", "allow_class", "load_from_hub", "load_safe", "push_to_hub", "save_safe"]
