"""What the tests of the networks share."""

import pytest
import torch as th


@pytest.fixture(autouse=True)
def seed() -> None:
    th.manual_seed(0)
