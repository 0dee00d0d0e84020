"""MAdam with a part of its metric left out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...balance import Balance
from ...optim import TaskOptimizer


class Ablated(TaskOptimizer):
    """Divides the balanced gradient by ``sqrt(C) + eps`` with another C, without ramp.

    ``"past"``: the running mean of its own square, weights of the past included. ``"diagonal"``: ``sum_i w_i^2 F_ii``,
    without the products of two objectives.
    """

    def __init__(self, optimizer: Optimizer, kind: Literal["past", "diagonal"], *, beta2: float, eps: float) -> None:
        super().__init__(optimizer)
        self.kind, self.beta2, self.eps, self.steps = kind, beta2, eps, 0
        self.means: dict[Tensor, Tensor] = {}

    def rows(self, names: list[str]) -> list[str]:  # type: ignore[override]
        """All."""
        return list(names)

    @torch.no_grad()
    def step(self, balance: Balance | None = None) -> None:  # type: ignore[override]
        """Whiten and step."""
        assert balance is not None and balance.rows is not None and balance.weight_vector is not None
        self.steps += 1
        for p, rows in balance.rows.parameters():
            assert p.grad is not None
            squares = p.grad.square()[None] if self.kind == "past" else rows.square()
            mean = self.means.setdefault(p, torch.zeros_like(squares))
            mean.lerp_(squares, 1 - self.beta2)
            weights = torch.ones(1) if self.kind == "past" else balance.weight_vector.square()
            curvature = torch.tensordot(weights.to(mean), mean, 1) / (1 - self.beta2**self.steps)
            p.grad.div_(curvature.sqrt() + self.eps)
        self._inner_step(balance)
