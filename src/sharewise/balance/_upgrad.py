"""UPGrad: project every gradient on the cone of non-conflicting directions, then average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._balancer import GramBalancer
from ._cosines import positive_definite, split
from ._nonnegative import minimise


class UPGrad(GramBalancer):
    """The mean of the gradients' projections on the dual cone ``{d: <d, g_k> >= 0 for every k}``.

    The projection of ``g_k`` is ``sum_j v_j g_j`` with ``v = argmin v^T M v`` over ``v >= e_k``, M the Gram matrix.
    The cone depends on the gradients' directions only, so the m quadratic programs are solved on their cosines, all
    together (:mod:`sharewise.balance._nonnegative`), and rows of any norm are protected alike. ``<d, g_k> >= 0`` holds
    to about 1e-12 of ``sum_j w_j |g_j| |g_k|``.

    Source: Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024 (arXiv 2406.16232), section 3
    and proposition 1. The authors' library adds 1e-4 to the diagonal of M divided by its trace, which leaves rows a
    thousand times shorter than the longest unprotected; here 1e-12 is added to cosines.

    Args:
        tasks: see :class:`Balancer`.

    A zero row protects nothing; its weight is 1 / m.
    """

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), all >= 1 / m. Cost O(m^4) in a few batched factorisations."""
        count = len(gram)
        self.check_names(count, names)
        cosines, norms = split(gram)
        matrix = positive_definite(cosines)
        added = norms @ minimise(matrix, matrix)  # of unit rows; the program for e_k has the linear part M e_k
        return (1 + torch.where(norms > 0, added / norms, 0.0)) / count
