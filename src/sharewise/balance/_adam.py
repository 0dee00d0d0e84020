"""Adam on numbers a balancer keeps by task name."""

from __future__ import annotations

import torch
from torch import Tensor


def adam_step(gradient: Tensor, state: Tensor, lr: float) -> Tensor:
    """One step of Adam (betas 0.9 and 0.999, epsilon 1e-8) on every entry by itself.

    ``state`` ``[..., 4]`` holds value, first and second moment and the number of steps taken; gives the new one.
    """
    value, mean, square, steps = state.unbind(-1)
    steps = steps + 1
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient.square()
    scale = (square / (1 - 0.999**steps)).sqrt() + 1e-8
    value = value - lr * mean / (1 - 0.9**steps) / scale
    return torch.stack([value, mean, square, steps], dim=-1)
