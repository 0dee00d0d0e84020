"""Methods whose result is a weighted sum of the models, with weights found from inner products of the whole tensor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import Block, Method, Stack
from ._linear import weighted_sum


def gram(rows: Tensor) -> Tensor:
    """Inner products ``[n, n]`` in float64 of rows ``[n, ...]``; partial sums over 65,536 entries stay float32."""
    flat = rows.reshape(len(rows), -1)
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for part in flat.split(65_536, dim=1):
        if len(flat) > 4:
            total += (part @ part.T).double()
            continue
        for i in range(len(flat)):  # one matrix product of so few rows is slower than its dot products
            for j in range(i + 1):
                total[i, j] += float(torch.dot(part[i], part[j]))
    return total if len(flat) > 4 else total.tril() + total.tril(-1).T


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
