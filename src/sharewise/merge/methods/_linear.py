"""Weighted average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...errors import MergeError
from .._method import NORMALIZE, WEIGHT, Block, Method


class Linear(Method):
    """``sum_t w_t theta_t``, divided by ``sum_t w_t`` unless ``normalize`` is off.

    With equal weights this is the uniform soup of Wortsman et al., "Model soups" (ICML 2022, arXiv 2203.05482,
    section 2). The sum is accumulated in float32 (float64 for float64 input), however the models are stored. One pass.
    """

    name = "linear"
    title = "Linear (soup)"
    paper = "https://arxiv.org/abs/2203.05482"
    base = "ignored"
    parameters = (WEIGHT, NORMALIZE)
    temporaries = 1

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the average."""
        weights = block.stack.values["weight"]
        total = weighted_sum(block.rows, weights)
        if block.stack.values["normalize"] and sum(weights) != 1.0:
            total.div_(self._divisor(weights))
        return total

    def _divisor(self, weights: list[float]) -> float:
        if abs(sum(weights)) < 1e-8:
            raise MergeError(f"the weights {weights} sum to 0 and cannot be normalized: set normalize: false")
        return sum(weights)


def weighted_sum(rows: Tensor | Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """``sum_t weights[t] rows[t]``: ``[n, ...]`` -> ``[...]``, in the order of the models."""
    total = rows[0] * weights[0]
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        total.add_(row, alpha=weight)
    return total
