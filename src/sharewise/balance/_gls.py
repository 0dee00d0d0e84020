"""Geometric loss strategy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._balancer import LossBalancer
from ._positive import as_weights, positive


class GLS(LossBalancer):
    """The geometric mean of the losses, ``(prod_k L_k)^(1/m)``: weights ``G / (m L_k)`` with G that mean.

    Scaling one loss by c scales the whole gradient by ``c^(1/m)`` and leaves its direction alone. The weighted total is
    the geometric mean itself. As the losses fall, so does the gradient of all tasks: an optimizer that normalises
    (Adam) does not mind, plain SGD slows down.

    Source: Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for Multi-Task
    Learning", CVPR Workshops 2019. Computed by logarithms, so that no product over- or underflows.

    Raises :class:`BalanceError` for a loss that is not above zero, naming the task. Cost O(m); waits for the device.
    """

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``G / (m L_k)``."""
        known = self.check_names(len(losses), names)
        logs = positive(losses, known, "GLS").log()
        return as_weights((logs.mean() - logs).exp() / len(losses), losses, known)
