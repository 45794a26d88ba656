"""Random numbers that leave those of learning alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch as th


@contextmanager
def fork_random_state(seed: int, device: th.device | str = "cpu") -> Iterator[None]:
    """
    Start the global random numbers of NumPy and PyTorch at a seed, and put them back afterwards.

    What is looked at while a model learns then changes nothing of what it learns.

    :param seed: The seed.
    :param device: The PyTorch device whose random numbers are used besides those of the CPU.
    """
    device = th.device(device)
    numpy_state = np.random.get_state()
    with th.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        th.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
