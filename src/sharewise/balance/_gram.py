"""The Gram matrix of gradient rows, and weighted sums of them: safe in scale, light in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

# Columns worked on at a time where a copy is made, so that copies stay small.
CHUNK = 1 << 13

# Columns whose products are added up in float32; these partial sums are then added up in float64, so that rounding
# does not grow with n (a plain float32 product of rows of two million loses half the digits).
_SPAN = 1 << 10
_SPANS = 64  # at a time, so that the partial sums stay small

# Rows of a triangle at a time: fewer would save products, but smaller ones are slower (measured).
_BLOCK = 32

# Up to this many entries all products are formed in float64: what it costs more is lost in the backward passes.
_SMALL = 1 << 18

# Squared norms outside this range are recomputed in float64: beyond it float32 squares may overflow or vanish.
_SMALLEST, _LARGEST = 1e-20, 1e30


class Products(Protocol):
    """Rows of one weight that are kept as products; see ``_factor`` and ``_owned``."""

    outputs: Tensor

    @property
    def tasks(self) -> int:
        """How many rows."""

    def gram(self, other: Any, dtype: torch.dtype) -> Tensor:
        """Inner products ``[m, m']`` (float64) with the rows of another batch for the same weight."""

    def combine(self, weights: Tensor) -> Tensor:
        """``sum_t weights[t] row_t``, shaped like the weight."""

    def formed(self) -> Tensor:
        """The rows themselves ``[m, numel]``."""

    def select(self, keep: Sequence[int]) -> Any:
        """The rows at these positions; -1 stands for a row of zeros."""

    def extend(self, other: Any) -> Any:
        """The sum of these rows and those of another batch: more examples of the same tasks."""

    def finite(self, task: int) -> bool:
        """Whether all entries of a task's row are finite, as far as its factors tell."""


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context in which products are not cut to half precision, if autocast is on around it."""
    return torch.autocast(tensor.device.type, enabled=False)


def gram_matrix(
    blocks: Sequence[Tensor],
    factors: Sequence[Products] = (),
    other: tuple[Sequence[Tensor], Sequence[Any]] | None = None,
) -> Tensor:
    """``rows @ rows^T`` ``[m, m]`` in float64, of rows that lie in blocks ``[m, n_b]`` and in factors.

    Small matrices are multiplied in float64. In large ones products of float32 rows are added up in float32 over a
    thousand columns and then in float64; rows of half precision are widened chunk by chunk. Rows whose norms would
    overflow or vanish when squared in float32 are multiplied in float64, whatever their size. A row with NaN or
    infinity gives a diagonal entry that is not finite. Cost O(m^2 n) time for blocks, no copy of float32 rows.

    ``other``: blocks and factors of the same tasks on another batch; then ``rows @ other_rows^T``, not symmetric.
    """
    second = (blocks, factors) if other is None else other
    pairs = [*zip(blocks, second[0], strict=True)], [*zip(factors, second[1], strict=True)]
    with full_precision(blocks[0] if blocks else factors[0].outputs):
        count = sum(b.numel() for b in blocks) + sum(f.outputs.numel() for f in factors)
        if count <= _SMALL or all(t.dtype == torch.float64 for t in (*blocks, *(f.outputs for f in factors))):
            return _products(*pairs, torch.float64)
        gram = _products(*pairs, torch.float32)
        squares = gram.diagonal() if other is None else gram.abs().flatten()
        if bool(((squares > _SMALLEST) & (squares < _LARGEST)).all()):
            return gram
        return _products(*pairs, torch.float64)


def weighted_sum(weights: Tensor, rows: Tensor, *, wide: bool = False) -> Tensor:
    """``weights @ rows``: ``[m]`` times ``[m, n]`` -> ``[n]`` in the rows' dtype (``wide``: at least float32).

    Rows of half precision are widened chunk by chunk, so that weights and sums are not rounded before the end.
    """
    with full_precision(rows):
        if rows.dtype in (torch.float32, torch.float64):
            return weights.to(rows) @ rows
        dtype = torch.float32 if wide else rows.dtype
        result = torch.empty(rows.shape[1], dtype=dtype, device=rows.device)
        factors = weights.to(rows.device, torch.float32)
        for out, piece in zip(result.split(CHUNK), rows.split(CHUNK, dim=1), strict=True):
            out.copy_(factors @ piece.float())
        return result


def row_norms(rows: Tensor) -> Tensor:
    """Euclidean norms ``[m]`` of rows ``[m, n]`` in float64: safe at any scale, no copy beyond ``CHUNK`` columns."""
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for piece in rows.detach().split(CHUNK, dim=1):
        squares += torch.linalg.vector_norm(piece, dim=1, dtype=torch.float64) ** 2
    return squares.sqrt()


def widened(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In the wider of its own and the given dtype."""
    return tensor.to(torch.promote_types(tensor.dtype, dtype))


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right^T`` in float64, from partial sums over ``_SPAN`` columns; batched products, no copy.

    Of a matrix with itself only one triangle is computed, by blocks.
    """
    total = torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device)
    same = left.data_ptr() == right.data_ptr() and left.shape == right.shape and left.stride() == right.stride()
    for mine, yours in zip(left.split(_SPAN * _SPANS, dim=1), right.split(_SPAN * _SPANS, dim=1), strict=True):
        if not same:
            _add_products(total, mine, yours)
            continue
        for first in range(0, len(left), _BLOCK):
            _add_products(total[first:, first : first + _BLOCK], mine[first:], mine[first : first + _BLOCK])
    return total.tril() + total.tril(-1).T if same else total


def _add_products(total: Tensor, left: Tensor, right: Tensor) -> None:
    even = left.shape[1] // _SPAN * _SPAN
    total += (left[:, even:] @ right[:, even:].T).double()
    if even:
        spans = [rows[:, :even].unflatten(1, (-1, _SPAN)).transpose(0, 1) for rows in (left, right)]
        total += torch.bmm(spans[0], spans[1].transpose(1, 2)).sum(0, dtype=torch.float64)


def _products(
    blocks: Sequence[tuple[Tensor, Tensor]], factors: Sequence[tuple[Any, Any]], dtype: torch.dtype
) -> Tensor:
    """The Gram matrix with products formed in ``dtype``, or in float64 where the rows are."""
    device = blocks[0][0].device if blocks else factors[0][0].outputs.device
    shape = [len(side) for side in blocks[0]] if blocks else [side.tasks for side in factors[0]]
    total = torch.zeros(shape, dtype=torch.float64, device=device)
    for left, right in blocks:
        if torch.promote_types(left.dtype, dtype) == left.dtype:
            total += inner_products(left, right).to(total)
            continue
        for mine, yours in zip(left.split(CHUNK, dim=1), right.split(CHUNK, dim=1), strict=True):
            total += inner_products(widened(mine, dtype), widened(yours, dtype)).to(total)
    for factor, same in factors:
        total += factor.gram(same, dtype).to(total)
    return total
