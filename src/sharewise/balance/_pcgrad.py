"""PCGrad: project conflicting gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._balancer import GramBalancer
from ._cosines import split


class PCGrad(GramBalancer):
    """Removes from each task's gradient its part against every other task's gradient, then sums.

    For each task i, with ``v = g_i``: for the other tasks j in random order, if ``<v, g_j> < 0`` then
    ``v <- v - <v, g_j> / |g_j|^2 g_j`` (``g_j`` unchanged). The direction is the sum of the m results.

    Every ``v`` is a combination of rows, so all is computed on m coefficients per task and the Gram matrix: exact,
    with no pass over the n columns. All tasks are projected at once, m steps of O(m^2) each; cosines instead of
    inner products make it safe for rows of any norm. A zero row is neither changed nor projected on.
    ``notes["projected"]`` is bool ``[m, m]``: task i's gradient lost its part along task j's.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.

    Args:
        seed: of the generator that draws the orders. For m = 2 the order does not matter.
        tasks: see :class:`Balancer`.
    """

    generator: torch.Generator

    def __init__(self, *, seed: int = 0, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks, seed=seed)

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), all >= 1 apart from rounding. Cost O(m^3), in m vectorised steps."""
        count = len(gram)
        self.check_names(count, names)
        order = torch.rand(count, count, generator=self.generator).argsort(dim=1).to(gram.device)
        cosines, norms = split(gram)
        coefficients = project(cosines, order)
        # Off the diagonal a coefficient is what was taken away along that row: every row is met once.
        every = torch.arange(count, device=gram.device)
        self.notes = {"projected": (coefficients > 0) & (every != every[:, None])}
        combined = norms @ coefficients
        return torch.where(norms > 0, combined / norms, 1.0)


def project(cosines: Tensor, order: Tensor) -> Tensor:
    """Coefficients ``[m, m]`` of the projected unit rows in the unit rows; row i follows ``order[i]``."""
    count = len(cosines)
    every = torch.arange(count, device=cosines.device)
    coefficients = torch.eye(count, dtype=cosines.dtype, device=cosines.device)
    products = cosines.clone()  # products[i, j] = <v_i, u_j>
    # Task i is never projected on itself: its own turn is one where nothing is left to remove.
    turns = cosines[order].masked_fill((order == every[:, None])[:, :, None], 0.0)
    for step in range(count):
        other = order[:, step]
        against = products[every, other].clamp_max(0.0).masked_fill(other == every, 0.0)
        coefficients[every, other] -= against
        products.addcmul_(against[:, None], turns[:, step], value=-1)
    return coefficients
