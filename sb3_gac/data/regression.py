"""How small networks are fitted to a data set before anything is learnt from it."""

from collections.abc import Callable

import torch as th
from torch import nn


def fit(net: nn.Module, draw_loss: Callable[[], th.Tensor], gradient_steps: int, learning_rate: float) -> None:
    """
    Descend a loss with Adam and a learning rate that falls to zero.

    :param net: The network.
    :param draw_loss: Loss of the network on a batch that it draws, a scalar.
    :param gradient_steps: Number of gradient steps.
    :param learning_rate: Learning rate of the first step.
    """
    optimizer = th.optim.Adam(net.parameters(), learning_rate)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, gradient_steps)
    for _ in range(gradient_steps):
        loss = draw_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
