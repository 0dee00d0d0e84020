"""The k-th largest value of a tensor that is read block by block: exact, without a sort and without holding the tensor.

A strided sample of about 65,000 values brackets it within a per cent or two of the entries (Floyd and Rivest, "Expected
time bounds for selection", 1975); one walk counts what lies above the bracket and collects what lies inside, and only
there the value is looked for. A bracket that misses, which a sample of a periodic tensor may, is opened wide and the
walk repeated. numpy compares and sorts five times as fast as torch does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from ._method import Stack

SAMPLE = 65_536
Measure = Callable[[Tensor], Tensor]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Cut:
    """Keeps the k entries that measure most; of entries that measure the same, those that come first.

    Attributes:
        value: what the least of them measures.
        ties: the flat indices, ascending, of the kept entries that measure exactly ``value``.
    """

    value: float
    ties: Tensor | None = None

    def keep(self, values: Tensor, start: int) -> Tensor:
        """``values`` (flat, from the entry ``start`` on) with 0 for what is cut, by absolute value."""
        kept = hardshrink(values, self.value)
        if self.ties is not None and len(self.ties):
            first, last = torch.searchsorted(self.ties, torch.tensor([start, start + len(values)])).tolist()
            if last > first:
                at = self.ties[first:last] - start
                kept[at] = values[at]
        return kept


NOTHING = Cut(math.inf)
EVERYTHING = Cut(0.0)


def select(stack: Stack, wanted: Sequence[tuple[int, int]], of: Measure = torch.abs) -> list[Cut]:
    """For every (row, k) the cut that keeps the k entries whose measure is largest.

    Args:
        stack: walked over two or three times.
        wanted: rows of what ``of`` returns, and how many of each to keep.
        of: rows ``[n, entries]`` -> measures ``[q, entries]``, none negative. Entries that measure 0 are never kept,
            which for absolute values makes no difference.

    Time O(entries) for each, about 1 ns an entry; memory a block and about 2 per cent of the tensor.
    """
    entries = math.prod(stack.shape)
    found: dict[int, Cut] = {}
    for i, (_, k) in enumerate(wanted):
        if k <= 0:
            found[i] = NOTHING
        elif k >= entries:
            found[i] = EVERYTHING
    open_ones = [i for i in range(len(wanted)) if i not in found]
    if open_ones:
        sample = _sample(stack, of, entries)
        brackets = [_bracket(sample[wanted[i][0]], wanted[i][1], entries) for i in open_ones]
        cuts = _collect(stack, [wanted[i] for i in open_ones], brackets, of)
        missed = [j for j, cut in enumerate(cuts) if cut is None]
        if missed:
            again = [wanted[open_ones[j]] for j in missed]
            for j, cut in zip(missed, _collect(stack, again, [(0.0, math.inf)] * len(missed), of), strict=True):
                cuts[j] = cut
        found.update({i: cut for i, cut in zip(open_ones, cuts, strict=True) if cut is not None})
    return [found[i] for i in range(len(wanted))]


def _sample(stack: Stack, of: Measure, entries: int) -> Values:
    """Every so many-th measure of each row, sorted: ``[q, about SAMPLE]``."""
    step = max(1, entries // SAMPLE)
    parts = [of(b.rows.flatten(1)[:, -b.start % step :: step]) for b in stack.blocks()]
    return np.sort(torch.cat(parts, 1).numpy(), axis=1)


def _bracket(sample: Values, k: int, entries: int) -> tuple[float, float]:
    """Two values with the k-th largest between them, but for a chance below 1 in 10,000."""
    size = len(sample)
    place = size * (1 - k / entries)
    slack = 4 * math.sqrt(size * (k / entries) * (1 - k / entries)) + 4
    low, high = math.floor(place - slack), math.ceil(place + slack)
    return float(sample[low]) if low >= 0 else 0.0, float(sample[high]) if high < size else math.inf


def _collect(
    stack: Stack, wanted: Sequence[tuple[int, int]], brackets: Sequence[tuple[float, float]], of: Measure
) -> list[Cut | None]:
    """The cuts, with ``None`` where the bracket missed."""
    above = [0] * len(wanted)
    inside: list[list[tuple[Values, Values]]] = [[] for _ in wanted]
    for block in stack.blocks():
        measured = of(block.rows.flatten(1)).numpy()
        for i, ((row, _), (low, high)) in enumerate(zip(wanted, brackets, strict=True)):
            values = measured[row]
            above[i] += int(np.count_nonzero(values > high))
            at = np.flatnonzero((values >= low if low > 0 else values > 0) & (values <= high))
            inside[i].append((values[at], at + block.start))
    return [
        _finish(k, above[i], inside[i], brackets[i][0] <= 0) for i, (_, k) in enumerate(wanted)
    ]  # fmt: skip


def _finish(k: int, above: int, inside: list[tuple[Values, Values]], to_zero: bool) -> Cut | None:
    values, at = (np.concatenate([part[i] for part in inside]) for i in (0, 1))
    if k <= above:
        return None
    if k > above + len(values):
        return EVERYTHING if to_zero else None  # fewer entries than k measure anything
    kept = k - above
    value = np.partition(values, len(values) - kept)[len(values) - kept]
    tied = np.flatnonzero(values == value)[: kept - int(np.count_nonzero(values > value))]
    return Cut(float(value), torch.from_numpy(at[tied]))
