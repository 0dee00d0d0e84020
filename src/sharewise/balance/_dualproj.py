"""DualProj: project the mean gradient on the cone of non-conflicting directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._balancer import GramBalancer
from ._cosines import positive_definite, split
from ._nonnegative import minimise


class DualProj(GramBalancer):
    """The projection of the mean gradient on the dual cone ``{d: <d, g_k> >= 0 for every k}``.

    ``d = sum_j v_j g_j`` with ``v = argmin v^T M v`` over ``v >= 1 / m``, M the Gram matrix: the nearest direction to
    the mean gradient that lets no loss rise to first order. Solved on cosines
    (:mod:`sharewise.balance._nonnegative`): ``<d, g_k> >= 0`` holds to about 1e-12 of ``sum_j w_j |g_j| |g_k|``.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, equation 11, with
    the mean gradient in place of the current task's; so named by Quinton and Rey (arXiv 2406.16232).

    Args:
        tasks: see :class:`Balancer`.

    A zero row protects nothing; its weight is 1 / m.
    """

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), all >= 1 / m. Cost O(m^3)."""
        count = len(gram)
        self.check_names(count, names)
        cosines, norms = split(gram)
        largest = norms.amax()
        if float(largest) == 0:
            return torch.full_like(norms, 1 / count)
        lengths = norms / largest
        matrix = positive_definite(cosines)
        added = minimise(matrix, (matrix @ lengths)[None])[0]
        return (1 + torch.where(norms > 0, added / lengths, 0.0)) / count
