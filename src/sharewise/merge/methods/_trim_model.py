"""Trimming over the whole model: a threshold for all tensors together, from histograms of absolute values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._method import Stack
from .._select import EVERYTHING, NOTHING, Cut

_SHIFT = 16
"""Bits of a float32 below a bin: its exponent and seven bits of its fraction tell 128 bins an octave."""


@dataclass(frozen=True)
class Histogram:
    """How many of a model's entries have an absolute value in each bin; only bins that are not empty.

    Attributes:
        bins: ``[b]``, ascending; the upper half of the value's bits.
        counts: ``[b]``.
    """

    bins: Tensor
    counts: Tensor

    def cut(self, density: float) -> Cut:
        """What keeps the ``density`` largest of all entries: exact up to the one bin the threshold falls in, which is
        taken to be filled evenly (a bin is 1/128 of an octave wide)."""
        wanted = density * int(self.counts.sum())
        if density >= 1:
            return EVERYTHING
        if wanted < 1:
            return NOTHING
        above = self.counts.flip(0).cumsum(0).flip(0)  # entries in this bin or a higher one
        at = int((above >= wanted).nonzero()[-1])
        first = int(self.bins[at]) << _SHIFT
        low, high = _value(max(first - 1, 0)), _value(first + (1 << _SHIFT))
        share = (wanted - (int(above[at]) - int(self.counts[at]))) / int(self.counts[at])
        # A cut drops what is not above its value: ``low`` is below all of the bin, which stays whole at a share of 1.
        return Cut(high - share * (high - low))


def _value(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))


def histograms(stack: Stack) -> list[Histogram]:
    """Of every model's entries of one tensor: one pass."""
    counts = [torch.zeros(2 ** (31 - _SHIFT), dtype=torch.int64) for _ in stack.models]
    for block in stack.blocks():
        for row, count in zip(block.rows.flatten(1), counts, strict=True):
            bits = row.float().abs().view(torch.int32) >> _SHIFT
            count += torch.bincount(bits, minlength=len(count))
    return [_sparse(count) for count in counts]


def joined(parts: Iterable[list[Histogram]]) -> list[Histogram]:
    """Histograms of all tensors together, one a model."""
    found = list(parts)
    models = []
    for own in zip(*found, strict=True):
        total = torch.zeros(2 ** (31 - _SHIFT), dtype=torch.int64)
        for histogram in own:
            total[histogram.bins] += histogram.counts
        models.append(_sparse(total))
    return models


def _sparse(count: Tensor) -> Histogram:
    bins = count.nonzero().view(-1)
    return Histogram(bins, count[bins])
