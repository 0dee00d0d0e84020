"""Running means of products of two tasks' gradients, entry by entry, and the curvature they give at any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 1 << 15
"""Columns worked on at a time on the CPU, so that the blocks of a piece stay in the cache over all operations."""


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
        pairs = [(a, b) for a in range(len(self.places)) for b in range(a, len(self.places))]
        for place, (a, b) in self._groups(pairs).items():
            blocks = [values[k] for values, _, _ in pieces for k in place]
            left = [rows[i] for _, rows, _ in pieces for i in a]
            right = [rows[j] for _, rows, _ in pieces for j in b]
            keep = self._keep(place[0])
            torch._foreach_mul_(blocks, keep)
            torch._foreach_addcmul_(blocks, left, right, value=1 - keep)
        if self.weights is not None:
            self._whiten(pieces, self._coefficients(self.weights))

    def _groups(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, ...], tuple[list[int], list[int]]]:
        """Blocks that are decayed alike, as one call each: all of them, unless plain means have different ages."""
        found: dict[float, tuple[list[int], list[int], list[int]]] = {}
        for a, b in pairs:
            place = pair_place(self.places[a], self.places[b], self.tasks)
            ks, left, right = found.setdefault(self._keep(place), ([], [], []))
            ks.append(place)
            left.append(a)
            right.append(b)
        return {tuple(ks): (left, right) for ks, left, right in found.values()}

    def _keep(self, place: int) -> float:
        return self.decay if self.decay < 1 else 1 - 1 / self.seen[place]

    def _coefficients(self, weights: Tensor) -> Tensor:
        """What each block counts for in ``C = sum_ij w_i w_j F_ij``, bias correction included ``[C(C+1)/2]``."""
        row, column = torch.triu_indices(self.tasks, self.tasks, device=weights.device)
        products = weights[row] * weights[column] * torch.where(row == column, 1.0, 2.0).to(weights)
        bias = [1 - self.decay**n if self.decay < 1 else 1.0 for n in self.seen]
        inverse = torch.tensor([1 / b if n else 0.0 for b, n in zip(bias, self.seen, strict=True)], dtype=weights.dtype)
        return products * inverse.to(weights.device)

    def _whiten(self, pieces: Sequence[tuple[Tensor, Tensor, Tensor]], coefficients: Tensor) -> None:
        metric = [coefficients.to(values) @ values for values, _, _ in pieces]
        torch._foreach_clamp_min_(metric, 0)
        torch._foreach_sqrt_(metric)
        if self.blend < 1:
            torch._foreach_mul_(metric, self.blend)
        torch._foreach_add_(metric, self.blend * self.eps + 1 - self.blend)
        torch._foreach_div_([gradient for _, _, gradient in pieces], metric)
