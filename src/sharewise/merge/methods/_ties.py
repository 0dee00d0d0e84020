"""TIES."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .._method import Block, Method, Stack
from .._select import Cut, select
from ._elect import elected, sparse_parameters

RESCALE = "scale what is kept so that the sum of absolute values stays"


def kept(density: float, entries: int) -> int:
    """How many of so many entries a density keeps: rounded down, but one where it is not 0."""
    return 0 if density <= 0 else min(entries, max(1, int(density * entries)))


@dataclass(frozen=True)
class Trim:
    """Each model's cuts (one, or an upper one too) and what its kept entries are multiplied by."""

    cuts: list[tuple[Cut, Cut | None]]
    factors: list[float]

    def apply(self, block: Block) -> list[Tensor]:
        """The block's rows, flat, with what is cut set to 0."""
        found = []
        for row, (cut, upper), factor in zip(block.rows.flatten(1), self.cuts, self.factors, strict=True):
            out = cut.keep(row, block.start)
            if upper is not None:
                out.sub_(upper.keep(row, block.start))
            found.append(out.mul_(factor) if factor != 1.0 else out)
        return found


def with_rescale(stack: Stack, cuts: list[tuple[Cut, Cut | None]]) -> Trim:
    """The cuts, with factors that restore each row's sum of absolute values if ``rescale`` is on: one more walk."""
    ones = [1.0] * len(cuts)
    trim = Trim(cuts, ones)
    if not stack.values["rescale"]:
        return trim
    before, after = [0.0] * len(cuts), [0.0] * len(cuts)
    for block in stack.blocks():
        for i, (row, out) in enumerate(zip(block.rows.flatten(1), trim.apply(block), strict=True)):
            before[i] += float(row.abs().sum())
            after[i] += float(out.abs().sum())
    return Trim(cuts, [b / a if a > 0 else 1.0 for a, b in zip(after, before, strict=True)])


class Ties(Method):
    """Trim, elect sign, merge: each task vector keeps its ``density`` largest entries (by absolute value, of each
    tensor), entries against the elected sign are dropped, the rest is averaged.

    Yadav et al., "TIES-merging" (NeurIPS 2023, arXiv 2306.01708, algorithm 1). What differs: the paper trims over the
    whole model at once; here, as in mergekit, each tensor keeps its share, so that no layer goes empty. Signs are
    elected by the weighted sum. Entries that tie at the threshold are kept in order up to exactly ``density``. Three
    or four passes; about 10 ns an entry and model.
    """

    name = "ties"
    title = "TIES"
    paper = "https://arxiv.org/abs/2306.01708"
    parameters = sparse_parameters(True, False, RESCALE)
    passes = 3
    temporaries = 8

    def prepare(self, stack: Stack) -> Trim:
        """The threshold of every model."""
        entries = math.prod(stack.shape)
        wanted = [(i, kept(d, entries)) for i, d in enumerate(stack.values["density"])]
        return with_rescale(stack, [(cut, None) for cut in select(stack, wanted)])

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the disjoint mean."""
        return elected(state.apply(block), block.stack.values)
