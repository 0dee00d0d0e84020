"""Random loss weighting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._balancer import LossBalancer
from ._positive import as_weights


class RLW(LossBalancer):
    """Random weights, drawn anew at each step: ``w = softmax(n)`` with ``n ~ N(0, I)``.

    A litmus test: a method that does not beat it has shown nothing. The weights sum to 1, so learning rates compare
    with those of a *mean* of losses, not of a sum.

    Source: Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning", TMLR
    2022, algorithm 2, normal distribution.

    Args:
        seed: of the generator that draws n.
        tasks: see :class:`Balancer`.

    Cost O(m).
    """

    generator: torch.Generator

    def __init__(self, *, seed: int = 0, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks, seed=seed)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``softmax(n)``, whatever the losses."""
        known = self.check_names(len(losses), names)
        drawn = torch.randn(len(losses), generator=self.generator, dtype=torch.float64)
        return as_weights(torch.softmax(drawn, 0), losses, known)
