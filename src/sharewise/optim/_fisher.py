"""Running means of products of two tasks' gradients, entry by entry, and the curvature they give at any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

PIECE = 1 << 17
"""Columns worked on at a time on the CPU: so many that calls cost nothing, so few that copies stay small."""


def pair_place(i: int, j: int, count: int) -> int:
    """Where block (i, j) of ``count`` tasks lies: (0, 0), (0, 1), ..., (1, 1), (1, 2), ..."""
    i, j = min(i, j), max(i, j)
    return i * count - i * (i - 1) // 2 + j - i


@dataclass
class Blocks:
    """Of one parameter: ``values [C(C+1)/2, *shape]`` (float32 or wider), and how often each block was updated.

    ``steps``: how often the parameter was whitened, for the ramp.
    """

    values: Tensor
    seen: list[int]
    steps: int = 0

    @classmethod
    def empty(cls, parameter: Tensor, tasks: int) -> Blocks:
        """No product seen yet."""
        count = tasks * (tasks + 1) // 2
        wide = torch.promote_types(parameter.dtype, torch.float32)
        return cls(torch.zeros(count, *parameter.shape, dtype=wide, device=parameter.device), [0] * count)


@dataclass(frozen=True)
class Update:
    """What happens to all parameters of a bunch alike.

    Args:
        places: which task each row is of.
        tasks: how many there are in all.
        decay: of the running means; 1 for plain means.
        seen: how often each block was updated, this time included.
        weights: ``[tasks]`` of this step, 0 for absent ones; ``None`` where the gradients are to be left alone.
        blend: part r of the metric ``(1 - r) + r (sqrt(C) + eps)``.
        eps: see there.
    """

    places: tuple[int, ...]
    tasks: int
    decay: float
    seen: tuple[int, ...]
    weights: Tensor | None
    blend: float
    eps: float

    def run(self, pieces: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """``F <- decay F + (1 - decay) g_i g_j``, then the gradients over the metric, in place.

        Args:
            pieces: of each parameter (or part of one) the blocks ``[C(C+1)/2, c]``, rows ``[k, c]``, gradient ``[c]``.
        """
        whole = self.places == tuple(range(self.tasks)) and (self.decay < 1 or len(set(self.seen)) == 1)
        if whole:
            torch._foreach_mul_([values for values, _, _ in pieces], self._keep(0))
        for a, i in enumerate(self.places):
            for b in [a] if whole else range(a, len(self.places)):
                start = pair_place(i, self.places[b], self.tasks)
                end = start + self.tasks - a if whole else start + 1  # whole: the blocks (i, i), (i, i + 1), ...
                blocks = [values[start:end] for values, _, _ in pieces]
                left = [rows[b:] if whole else rows[b] for _, rows, _ in pieces]
                keep = self._keep(start)
                if not whole:
                    torch._foreach_mul_(blocks, keep)
                torch._foreach_addcmul_(blocks, left, [rows[a] for _, rows, _ in pieces], value=1 - keep)
        if self.weights is not None:
            self._whiten(pieces, self._coefficients.to(pieces[0][0]))

    def _keep(self, place: int) -> float:
        return self.decay if self.decay < 1 else 1 - 1 / self.seen[place]

    @cached_property
    def _coefficients(self) -> Tensor:
        """What each block counts for in ``C = sum_ij w_i w_j F_ij``, bias correction included ``[C(C+1)/2]``."""
        weights = self.weights
        assert weights is not None
        row, column = torch.triu_indices(self.tasks, self.tasks, device=weights.device)
        products = weights[row] * weights[column] * torch.where(row == column, 1.0, 2.0).to(weights)
        bias = [1 - self.decay**n if self.decay < 1 else 1.0 for n in self.seen]
        inverse = torch.tensor([1 / b if n else 0.0 for b, n in zip(bias, self.seen, strict=True)], dtype=weights.dtype)
        return products * inverse.to(weights.device)

    def _whiten(self, pieces: Sequence[tuple[Tensor, Tensor, Tensor]], coefficients: Tensor) -> None:
        metric = [coefficients @ values for values, _, _ in pieces]
        torch._foreach_clamp_min_(metric, 0)
        torch._foreach_sqrt_(metric)
        if self.blend < 1:
            torch._foreach_mul_(metric, self.blend)
        torch._foreach_add_(metric, self.blend * self.eps + 1 - self.blend)
        torch._foreach_div_([gradient for _, _, gradient in pieces], metric)
