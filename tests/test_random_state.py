import numpy as np
import torch as th

from sb3_gac.random_state import fork_random_state


def test_the_numbers_inside_depend_on_the_seed_and_those_after_on_nothing_inside() -> None:
    def draw() -> tuple[float, float]:
        return np.random.rand(), th.rand(()).item()

    np.random.seed(1)
    th.manual_seed(1)
    first, second = draw(), draw()
    np.random.seed(1)
    th.manual_seed(1)
    with fork_random_state(5):
        inside = draw()
    assert draw() == first
    try:
        with fork_random_state(5):
            assert draw() == inside
            raise KeyError
    except KeyError:
        pass
    assert draw() == second
