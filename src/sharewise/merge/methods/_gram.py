"""Methods whose result is a weighted sum of the models, with weights found from inner products of the whole tensor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._method import Block, Method, Stack
from ._linear import weighted_sum

_PART = 65_536


def gram(rows: Sequence[Tensor] | Tensor) -> Tensor:
    """Inner products ``[n, n]`` in float64 of rows ``[n, ...]``; partial sums over 65,536 entries stay float32."""
    n = len(rows)
    parts = [row.reshape(-1).split(_PART) for row in rows]
    if n > 4:
        return sum((_products(torch.stack(part)) for part in zip(*parts, strict=True)), torch.zeros(n, n).double())
    total = [[0.0] * n for _ in range(n)]
    for i in range(n):  # one matrix product of so few rows is slower than its dot products
        for j in range(i + 1):
            total[i][j] = total[j][i] = sum(float(torch.dot(*pair)) for pair in zip(parts[i], parts[j], strict=True))
    return torch.tensor(total, dtype=torch.float64)


def _products(rows: Tensor) -> Tensor:
    return (rows @ rows.T).double()


class GramMethod(Method):
    """Reads every tensor twice: once for its inner products, once for the weighted sum. O(n^2 entries)."""

    passes = 2
    temporaries = 1

    @abstractmethod
    def coefficients(self, gram: Tensor, values: Mapping[str, Any]) -> Tensor:
        """Inner products ``[n, n]`` of the rows, float64 -> weights ``[n]``."""

    def prepare(self, stack: Stack) -> list[float]:
        """The weights of this tensor."""
        n = len(stack.models)
        total = torch.zeros(n, n, dtype=torch.float64)
        for block in stack.blocks():
            total += gram(block.rows)
        found: list[float] = self.coefficients(total, stack.values).tolist()
        return found

    def combine(self, block: Block, state: list[float]) -> Tensor:
        """One block of the weighted sum."""
        return weighted_sum(block.rows, state)
