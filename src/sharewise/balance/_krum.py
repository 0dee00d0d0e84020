"""Krum: the gradients that lie closest to their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer


class Krum(GramBalancer):
    """Averages the ``selected`` tasks whose gradients lie closest to those of their neighbours (multi-Krum).

    A task's score is the sum of squared distances from its gradient to the ``m - outliers - 2`` nearest others;
    those with the smallest scores get weight ``1 / selected``, the others none. Up to ``outliers`` gradients that
    lie far from the rest are never among those chosen. Equal scores are decided by the tasks' order.

    Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
    section 4 (Krum) and 5 (multi-Krum), where the rows are workers that estimate one gradient. Tasks are expected to
    differ: see the documentation for when this is of use. A step with fewer than ``outliers + 3`` tasks counts on as
    many fewer outliers; with one or two, where none can be told, it takes their mean. ``notes["outliers"]`` says on how
    many a step has counted.

    Args:
        outliers: tasks whose gradients may be anything, a whole number >= 0.
        selected: tasks averaged, >= 1 (the paper's Krum); all present if fewer are.
        tasks: see :class:`Balancer`.

    Cost O(m^2 log m), besides the Gram matrix.
    """

    def __init__(self, *, outliers: int = 1, selected: int = 1, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not (isinstance(outliers, int) and outliers >= 0):
            raise OptionError(f"outliers must be a whole number of tasks >= 0, got {outliers!r}")
        if not (isinstance(selected, int) and selected >= 1):
            raise OptionError(f"selected must be a whole number of tasks >= 1, got {selected!r}")
        self.outliers, self.selected = outliers, selected

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), ``1 / selected`` or 0."""
        count = len(gram)
        self.check_names(count, names)
        outliers = max(0, min(self.outliers, count - 3))
        self.notes = {"outliers": torch.tensor(outliers)}
        if count <= 2:
            return gram.new_full((count,), 1 / count)
        squares = gram.diagonal()
        distances = (squares + squares[:, None] - 2 * gram).clamp_min(0)
        distances.fill_diagonal_(torch.inf)
        neighbours = count - outliers - 2
        scores = distances.topk(neighbours, largest=False).values.sum(1)
        chosen = min(self.selected, count)
        nearest = scores.argsort(stable=True)[:chosen]
        return torch.zeros_like(squares).index_fill(0, nearest, 1 / chosen)
