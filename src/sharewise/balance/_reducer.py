"""Combining losses and gradient rows across processes before the decision."""

from __future__ import annotations

from collections.abc import Iterable

import torch.distributed as dist
from torch import Tensor


class Reducer:
    """What happens to losses and rows between taking them and deciding; this base class changes nothing.

    Derive to combine them over processes. All processes must bring the same tasks in the same order, and then
    decide alike. Gradients that are not balanced (heads; everything for methods on losses) are reduced by the
    caller once a step, after accumulation.
    """

    def losses(self, losses: Tensor) -> Tensor:
        """Detached losses ``[m]`` of this process -> those the balancer decides by."""
        return losses

    def rows(self, rows: Tensor) -> Tensor:
        """Gradient rows ``[m, n]`` of this process -> those that are balanced; may work in place."""
        return rows


class MeanReducer(Reducer):
    """The mean over the processes of a ``torch.distributed`` group: exact when all hold batches of equal size.

    Rows are averaged before the decision, for the Gram matrix of averaged rows is not the average of Gram matrices.
    Call :meth:`gradients` once a step, before the optimizer, for what is not balanced. Do not also wrap the model in
    DistributedDataParallel.

    Cost: m n + n numbers a step for methods on rows, n for methods on losses.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group

    def losses(self, losses: Tensor) -> Tensor:
        """Mean of ``[m]`` over processes."""
        return self._mean(losses.clone())

    def rows(self, rows: Tensor) -> Tensor:
        """Mean of ``[m, n]`` over processes, in place."""
        return self._mean(rows)

    def gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every ``.grad`` by its mean over processes; balanced ones, equal everywhere, stay as they are."""
        for parameter in parameters:
            if parameter.grad is not None:
                self._mean(parameter.grad)

    def _mean(self, tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor, group=self.group)  # a sum: gloo has no mean
        return tensor.div_(dist.get_world_size(self.group))
