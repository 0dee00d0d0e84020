"""The Gram matrix of gradient rows, and weighted sums of them: safe in scale, light in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Columns worked on at a time where a copy is made, so that copies stay small.
CHUNK = 1 << 13

# Columns whose products are added up in float32; these partial sums are then added up in float64, so that rounding
# does not grow with n (a plain float32 product of rows of two million loses half the digits).
_SPAN = 1 << 10
_SPANS = 64  # at a time, so that the partial sums stay small

# Up to this many entries all products are formed in float64: what it costs more is lost in the backward passes.
_SMALL = 1 << 18

# Squared norms outside this range are recomputed in float64: beyond it float32 squares may overflow or vanish.
_SMALLEST, _LARGEST = 1e-20, 1e30


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context in which products are not cut to half precision, if autocast is on around it."""
    return torch.autocast(tensor.device.type, enabled=False)


def gram_matrix(blocks: Sequence[Tensor]) -> Tensor:
    """``sum_b rows_b @ rows_b^T`` of blocks ``[m, n_b]``: ``[m, m]`` in float64 on the first block's device.

    Small matrices are multiplied in float64. In large ones products of float32 rows are added up in float32 over a
    thousand columns and then in float64; rows of half precision are widened chunk by chunk. Rows whose norms would
    overflow or vanish when squared in float32 are multiplied in float64, whatever their size. A row with NaN or
    infinity gives a diagonal entry that is not finite. Cost O(m^2 n) time, no copy of float32 rows.
    """
    with full_precision(blocks[0]):
        if sum(b.numel() for b in blocks) <= _SMALL or all(b.dtype == torch.float64 for b in blocks):
            return _products(blocks, torch.float64)
        gram = _products(blocks, torch.float32)
        squares = gram.diagonal()
        if bool(((squares > _SMALLEST) & (squares < _LARGEST)).all()):
            return gram
        return _products(blocks, torch.float64)


def weighted_sum(weights: Tensor, rows: Tensor) -> Tensor:
    """``weights @ rows``: ``[m]`` times ``[m, n]`` -> ``[n]`` in the rows' dtype.

    Rows of half precision are widened chunk by chunk, so that weights and sums are not rounded before the end.
    """
    with full_precision(rows):
        if rows.dtype in (torch.float32, torch.float64):
            return weights.to(rows) @ rows
        result = torch.empty(rows.shape[1], dtype=rows.dtype, device=rows.device)
        wide = weights.to(rows.device, torch.float32)
        for out, piece in zip(result.split(CHUNK), rows.split(CHUNK, dim=1), strict=True):
            out.copy_(wide @ piece.float())
        return result


def row_norms(rows: Tensor) -> Tensor:
    """Euclidean norms ``[m]`` of rows ``[m, n]`` in float64: safe at any scale, no copy beyond ``CHUNK`` columns."""
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for piece in rows.detach().split(CHUNK, dim=1):
        squares += torch.linalg.vector_norm(piece, dim=1, dtype=torch.float64) ** 2
    return squares.sqrt()


def _products(blocks: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The Gram matrix with products formed in ``dtype``, or in float64 where the rows are."""
    count = blocks[0].shape[0]
    total = torch.zeros(count, count, dtype=torch.float64, device=blocks[0].device)
    for block in blocks:
        wide = torch.promote_types(block.dtype, dtype)
        for piece in block.split(_SPAN * _SPANS if wide == block.dtype else CHUNK, dim=1):
            total += _in_spans(piece.to(wide)).to(total)
    return total


def _in_spans(rows: Tensor) -> Tensor:
    """``rows @ rows^T`` in float64, from partial sums over ``_SPAN`` columns; one batched product, no copy."""
    even = rows.shape[1] // _SPAN * _SPAN
    rest = rows[:, even:]
    total = (rest @ rest.T).double()
    if even:
        spans = rows[:, :even].unflatten(1, (-1, _SPAN)).transpose(0, 1)
        total += torch.bmm(spans, spans.transpose(1, 2)).sum(0, dtype=torch.float64)
    return total
