"""Bounds of log standard deviations."""

from typing import Any

import torch as th


def clamp_log_std(log_std: th.Tensor, low: float, high: float) -> th.Tensor:
    """
    Clamp whose gradient can bring back what has left the bounds.

    The gradient of a plain clamp vanishes outside: a network that has grown sure of constant returns would stay sure when
    they begin to vary. Here the gradient of a loss passes wherever a descent step leads back inside.

    :param log_std: Log standard deviations as a network gives them, of any shape.
    :param low: Lower bound.
    :param high: Upper bound.
    """
    clamped: th.Tensor = _ReturningClamp.apply(log_std, low, high)  # type: ignore[no-untyped-call]
    return clamped


class _ReturningClamp(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: th.Tensor, low: float, high: float) -> th.Tensor:
        ctx.save_for_backward(values)
        ctx.bounds = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: th.Tensor) -> tuple[th.Tensor, None, None]:
        (values,), (low, high), (gradient,) = ctx.saved_tensors, ctx.bounds, gradients
        leads_out = ((values < low) & (gradient > 0)) | ((values > high) & (gradient < 0))
        return gradient.masked_fill(leads_out, 0.0), None, None
