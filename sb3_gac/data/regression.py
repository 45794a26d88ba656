"""How small networks are fitted to a data set before anything is learnt from it."""

from collections.abc import Callable

import torch as th
from torch import nn


def fit(
    net: nn.Module,
    draw_loss: Callable[[], th.Tensor],
    gradient_steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> None:
    """
    Descend a loss with AdamW and a learning rate that falls to zero.

    :param net: The network.
    :param draw_loss: Loss of the network on a batch that it draws, a scalar.
    :param gradient_steps: Number of gradient steps.
    :param learning_rate: Learning rate of the first step.
    :param weight_decay: Weight decay, in shares of a weight per unit of the learning rate.
    """
    optimizer = th.optim.AdamW(net.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, gradient_steps)
    for _ in range(gradient_steps):
        loss = draw_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
