"""What only some installations have."""

from sb3_gac.extra import require

__all__ = ["require"]
