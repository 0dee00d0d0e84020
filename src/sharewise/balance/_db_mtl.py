"""DB-MTL: gradients of log losses, all brought to the largest norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GradientBalancer
from ._positive import positive
from ._row_state import finite


class DBMTL(GradientBalancer):
    """Balances losses by their logarithm and gradients by their norm: every task contributes equally.

    At step t, with ``h_k`` the running mean of the gradient of ``log L_k``, which is ``g_k / L_k``::

        h_k <- g_k / L_k + beta / t^decay (h_k - g_k / L_k)
        d    = max_j |h_j| sum_k h_k / |h_k|

    A loss in other units (``c L_k``) gives the same update. Tasks with a zero gradient contribute nothing.

    Source: Lin et al., "Dual-Balancing for Multi-Task Learning", 2023 (arXiv:2308.12029), algorithm 1. Different here:
    a mean starts at the task's first gradient, not at zero; t counts the steps in which the task was seen;
    ``g_k / max(L_k, eps)`` takes the place of the gradient of ``log(L_k + eps)``; heads get the gradient of their
    loss, not of its logarithm.

    Args:
        beta: memory of the running mean, in [0, 1); 0 for none.
        decay: how fast ``beta`` falls with the number of steps, >= 0.
        eps: losses below are divided by this, > 0: one that goes to 0 does not send its gradient to infinity.
        tasks: see :class:`Balancer`.

    Raises :class:`BalanceError` naming the task for a loss that is zero or negative. State: a row a task. Rows that
    are not finite are passed on and not remembered.
    Cost O(mn) time, two passes over the rows; O(m CHUNK) memory beside the state.
    """

    def __init__(
        self, *, beta: float = 0.9, decay: float = 0.0, eps: float = 1e-8, tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(tasks=tasks)
        if not 0 <= beta < 1:
            raise OptionError(f"beta must be at least 0 (no memory) and below 1 (nothing new), got {beta}")
        if not 0 <= decay < torch.inf:
            raise OptionError(f"decay must be a finite number >= 0, got {decay}")
        if not 0 < eps < torch.inf:
            raise OptionError(f"eps must be a positive number, got {eps}")
        self.beta, self.decay, self.eps = beta, decay, eps
        self.row_state.declare("mean")
        self.task_state.declare("seen")

    @torch.no_grad()
    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]`` of rows ``[m, n]`` of losses ``[m]``; see :meth:`Balancer.aggregate`."""
        known = self.check_names(len(rows), names)
        scales = positive(rows.new_ones(len(rows)) if losses is None else losses, known, "db_mtl").clamp_min(self.eps)
        if not (finite(rows) and finite(scales)):
            return (rows / scales.to(rows)[:, None]).sum(0)
        norms = self._remember(rows, scales, known)
        # a gradient too small for the ratio to be a float32 number counts as much less than the others
        ratios = torch.where(norms > 0, norms.max() / norms, 0.0).clamp_max(torch.finfo(torch.float32).max)
        return self.row_state.combine("mean", known, ratios).to(rows.dtype)

    def _remember(self, rows: Tensor, scales: Tensor, names: Sequence[str]) -> Tensor:
        """Update the means ``h`` and give their norms ``[m]`` in float64."""
        seen = self.task_state.read("seen", names) + 1
        self.task_state.write("seen", names, seen)
        self.row_state.admit(names, rows)
        new = torch.where(seen == 1, 1.0, 1 - self.beta / seen**self.decay)[:, None]
        squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        for columns, mean in self.row_state.pieces("mean", names):
            mean.lerp_(rows[:, columns].to(mean) / scales.to(mean)[:, None], new.to(mean))
            squares += torch.linalg.vector_norm(mean, dim=1, dtype=torch.float64) ** 2
        return squares.sqrt()
