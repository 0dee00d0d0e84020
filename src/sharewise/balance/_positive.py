"""Losses whose logarithm or ratio is taken, and weights in a type that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import BalanceError


def positive(losses: Tensor, names: Sequence[str], method: str, what: str = "loss") -> Tensor:
    """``losses [m]`` in float64; waits for the device.

    Raises :class:`BalanceError` naming the task for one that is zero or negative. One that is NaN or infinite passes:
    it is the caller's to refuse, or to leave to a gradient scaler.
    """
    for name, value in zip(names, losses.tolist(), strict=True):
        if value <= 0:
            raise BalanceError(
                f'the {what} of task "{name}" is {value:g}, and {method} needs losses above zero: shift the loss by a '
                "constant (loss - lower bound + something small), or use a method without logarithms"
            )
    return losses.double()


def as_weights(weights: Tensor, losses: Tensor, names: Sequence[str]) -> Tensor:
    """``weights [m]`` in the losses' dtype, and in float32 for half precision, whose range is too small for them.

    Raises :class:`BalanceError` naming the task for a weight beyond float16's range on losses in float16: the gradient
    of that loss would overflow.
    """
    if losses.dtype == torch.float16:
        for name, value in zip(names, weights.tolist(), strict=True):
            if value > torch.finfo(torch.float16).max:
                raise BalanceError(
                    f'the loss of task "{name}" is in float16, and its weight {value:.3g} does not fit into that: '
                    "compute the loss in float32"
                )
    return weights.to(losses.device, torch.promote_types(losses.dtype, torch.float32))
