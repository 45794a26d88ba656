"""Runs of the benchmarks that learn next to nothing."""

import pytest


@pytest.fixture(autouse=True)
def quick(few_updates: None) -> None:
    """Values and rewards take but a moment, in this process."""
