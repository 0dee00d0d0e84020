"""Data-parallel training without a wrapper: rows and gradients are averaged over the ranks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ..balance import Reducer


class GradientReducer(Reducer):
    """Averages over ranks what a step needs: losses and rows before the balancer decides, the gradients after.

    With the rows averaged first every rank sees the matrix of the whole batch and takes the same decision, so a
    per-task method is as exact as on one device. (DistributedDataParallel would only average *after* the decision,
    and silently not at all for gradients taken with ``torch.autograd.grad``.) A mean of means: ranks hold batches
    of equal size, and a task's masked mean is taken on each rank.

    Cost: m x n + n numbers a step for methods on rows, n for methods on losses.
    """

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric

    def losses(self, losses: Tensor) -> Tensor:
        """``[m]`` of this rank -> its mean over ranks, so that all weigh and check the same numbers."""
        return self.fabric.all_reduce(losses, reduce_op="mean")

    def rows(self, rows: Tensor) -> Tensor:
        """``[m, n]`` of this rank -> its mean over ranks."""
        return self.fabric.all_reduce(rows, reduce_op="mean")

    def gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average every ``.grad`` in place; ranks that agree already (balanced rows) stay as they are."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.copy_(self.fabric.all_reduce(parameter.grad, reduce_op="mean"))
