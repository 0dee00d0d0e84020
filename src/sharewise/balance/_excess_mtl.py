"""ExcessMTL: weights that grow with a task's estimated distance to convergence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GradientBalancer
from ._gram import weighted_sum
from ._row_state import finite

# A row whose largest entry lies between these may be squared in float32: what vanishes then is 1e-9 of it at most.
_SMALLEST, _LARGEST = 1e-10, 1e18


class ExcessMTL(GradientBalancer):
    """Weighs each task by how far it seems from its own optimum, not by its loss, which label noise keeps high.

    The excess risk is estimated by ``e_k = g_k^T diag(a_k)^(-1/2) g_k``, where ``a_k`` sums the squared gradients
    of all steps entry by entry (as in AdaGrad), and is divided by its value at the start, ``e_k(0)``::

        w_k <- w_k exp(eta e_k / e_k(0)),  scaled to sum to m;   d = sum_k w_k g_k

    Source: He et al., "Robust Multi-Task Learning with Excess Risks", ICML 2024, equations 6, 7 and 9 and section 3.2.
    Different here: weights sum to m instead of 1 (as in the authors' code), a task counts with ``e_k / e_k(0) = 1``
    while ``e_k(0)`` is measured, ``sqrt(a_k)`` is what is kept, without an epsilon that would depend on the scale,
    and heads get the gradient of their own loss without the weight.

    Args:
        eta: step of the weights, > 0.
        warmup: steps with a gradient over which a task's ``e_k(0)`` is averaged, >= 1. The paper takes three epochs.
        tasks: see :class:`Balancer`.

    State: a row a task. Tasks present share the weight they had together; one that is absent keeps its own. Rows that
    are not finite are passed on and not remembered. ``notes["weights"]`` holds w ``[m]``.
    Cost O(mn) time, two passes over the rows; O(m CHUNK) memory beside the state.
    """

    def __init__(self, *, eta: float = 1e-2, warmup: int = 1, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not 0 < eta < torch.inf:
            raise OptionError(f"eta must be a positive number, got {eta}")
        if not (isinstance(warmup, int) and warmup >= 1):
            raise OptionError(f"warmup must be a whole number of steps >= 1, got {warmup!r}")
        self.eta, self.warmup = eta, warmup
        self.row_state.declare("root")  # sqrt(a): squares would overflow or vanish in float32
        self.task_state.declare("log_weight")
        self.task_state.declare("measured")
        self.task_state.declare("start")

    @torch.no_grad()
    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]`` of rows ``[m, n]``; see :meth:`Balancer.aggregate`."""
        known, self.notes = self.check_names(len(rows), names), {}
        if not finite(rows):
            return rows.sum(0)
        weights = self._weigh(self._excess(rows, known), known)
        self.notes = {"weights": weights}
        return weighted_sum(weights, rows)

    def _excess(self, rows: Tensor, names: Sequence[str]) -> Tensor:
        """Excess risks ``[m]`` (float64) after adding the rows to what is kept."""
        self.row_state.admit(names, rows)
        excess = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        plain = _squares_fit(rows)
        for columns, root in self.row_state.pieces("root", names):
            piece = rows[:, columns].to(root)
            square = piece * piece
            if plain and float(root.amax()) < _LARGEST:
                torch.addcmul(square, root, root, out=root).sqrt_()
                ratio = square.div_(root.clamp_min(torch.finfo(root.dtype).tiny))
            else:
                torch.hypot(root, piece, out=root)  # slower, at any scale
                ratio = piece / root.clamp_min(torch.finfo(root.dtype).tiny) * piece
            excess += ratio.sum(1)  # of one piece in its own precision, of all in float64
        return excess

    def _weigh(self, excess: Tensor, names: Sequence[str]) -> Tensor:
        """Weights ``[m]`` after one step; those of the tasks present keep their sum among themselves."""
        measured, start = (self.task_state.read(field, names).to(excess) for field in ("measured", "start"))
        warm = measured < self.warmup
        adds = warm & (excess > 0)
        start = torch.where(adds, start + (excess - start) / (measured + 1), start)
        self.task_state.write("measured", names, measured + adds)
        self.task_state.write("start", names, start)
        before = self.task_state.read("log_weight", names).to(excess)
        after = before + self.eta * torch.where(warm, 1.0, excess / start)
        after += before.logsumexp(0) - after.logsumexp(0)
        self.task_state.write("log_weight", names, after)
        return len(names) * after.softmax(0)


def _squares_fit(rows: Tensor) -> bool:
    """Whether every row ``[m, n]`` that is not zero has its largest entry in the range for plain squares."""
    largest = torch.maximum(-rows.amin(1), rows.amax(1))
    return bool((((largest > _SMALLEST) & (largest < _LARGEST)) | (largest == 0)).all())
