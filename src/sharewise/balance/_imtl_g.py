"""IMTL-G: equal projections on all gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._balancer import GramBalancer
from ._cosines import split
from ._spectrum import equal_products


class IMTLG(GramBalancer):
    """The weights, of sum 1, whose direction has the same inner product with every unit gradient ``u_k``.

    With ``x`` solving ``U U^T x = 1`` the direction ``U^T x`` has inner product 1 with each ``u_k``; on the rows
    ``g_k = |g_k| u_k`` these are weights ``x_k / |g_k|``, and dividing by their sum gives the paper's solution
    (U has the unit rows). Multiplying a loss by a constant changes the length, not the direction.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, the method IMTL-G in the form that does not
    single out the first task. Three things differ, all where the paper's formula fails:

    - It divides by the sum of the weights even where that is negative: then the step raises every loss at the same
      rate. Here the sign is kept, and the step lowers all of them.
    - Its length has no bound where that sum is near zero; here it is at most the sum of the gradients' norms.
    - It inverts a matrix that is singular for dependent gradients. Here the pseudo-inverse takes the projections that
      are as equal as they can be; gradients that agree in no direction (opposite ones) give weights of 0.

    Args:
        tasks: see :class:`Balancer`.
    """

    def __init__(self, *, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), some of which may be negative; a zero row has weight 0. Cost O(m^3), once."""
        self.check_names(len(gram), names)
        cosines, norms = split(gram)
        x = equal_products(cosines)
        weights = torch.where(norms > 0, x / norms, 0.0)
        length = x.sum().clamp_min(0).sqrt()  # of the direction: |U^T x|^2 = x^T (U U^T) x = x^T 1
        size = torch.maximum(weights.sum().abs(), length / norms.sum())
        return torch.where(size > 0, weights / size, weights)
