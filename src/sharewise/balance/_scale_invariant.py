"""Scale-invariant loss: the sum of logarithms."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._balancer import LossBalancer
from ._positive import as_weights, positive


class ScaleInvariant(LossBalancer):
    """The sum of the losses' logarithms, ``sum_k log L_k``: weights ``1 / L_k``.

    Scaling a loss changes nothing at all, so no units need to be agreed on. What many adaptive methods come to
    (uncertainty weighting and IMTL-L at rest), without anything to learn.

    Source: the baseline "SI" of Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, section 5.

    Raises :class:`BalanceError` for a loss that is not above zero, naming the task. Cost O(m); waits for the device.
    """

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``1 / L_k``."""
        known = self.check_names(len(losses), names)
        return as_weights(1 / positive(losses, known, "the sum of logarithms"), losses, known)
