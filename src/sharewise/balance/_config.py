"""ConFIG: the direction at equal angles to all gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._balancer import GramBalancer
from ._cosines import split
from ._spectrum import equal_products


class ConFIG(GramBalancer):
    """The unit vector ``v`` with the same cosine to every gradient, times ``sum_k <g_k, v>``.

    ``v`` is ``pinv(U) 1`` normalised, U the unit rows. Of independent rows all cosines are equal and positive: no
    loss rises, to first order. Multiplying a loss by a constant changes the length, not the direction, which is that
    of :class:`IMTLG`; the length differs, and is at most the sum of the gradients' norms.

    All is computed from the Gram matrix: ``pinv(U) = U^T (U U^T)^+``. Of dependent rows the pseudo-inverse takes
    the cosines that are as equal as they can be, which may leave some negative; where no direction agrees with the
    gradients (opposite ones) the weights are 0. A zero row has weight 0.

    Source: Liu, Chu, Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR
    2025, equation 2. Their momentum variant M-ConFIG differentiates one task a step and keeps a momentum a task for
    each parameter: another training loop, not another balancer, and not offered.

    Args:
        tasks: see :class:`Balancer`.
    """

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), some of which may be negative. Cost O(m^3), once."""
        self.check_names(len(gram), names)
        cosines, norms = split(gram)
        x = equal_products(cosines)
        square = x @ cosines @ x  # |U^T x|^2
        length = norms @ (cosines @ x)  # times |U^T x|
        return torch.where((norms > 0) & (x != 0), length / norms * x / square, 0.0)
