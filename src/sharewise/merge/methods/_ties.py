"""TIES."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .._method import Block, Method, Parameter, Stack
from .._select import Cut, select
from ._elect import elected, sparse_parameters
from ._trim_model import Histogram, histograms, joined

TRIM = Parameter("trim", "keep the share of each tensor, or of the whole model", "tensor", str)
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

    Yadav et al., "TIES-merging" (NeurIPS 2023, arXiv 2306.01708, algorithm 1). The paper trims over the whole model at
    once, which ``trim: model`` does, from histograms of the absolute values (the share kept is met within 0.1 per
    cent); by default each tensor keeps its share, as in mergekit, so that no layer goes empty. Signs are elected by the
    weighted sum. Entries that tie at the threshold are kept in order up to exactly ``density``; mergekit 0.1.5 keeps as
    many, but which of the tied ones is left to an unstable sort there. Three or four passes, two or three with
    ``trim: model``; about 10 ns an entry and model.
    """

    name = "ties"
    title = "TIES"
    paper = "https://arxiv.org/abs/2306.01708"
    parameters = (*sparse_parameters(True, False, RESCALE), TRIM)
    passes = 3
    temporaries = 8

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """Only two ways to trim are known."""
        known = values["trim"] in ("tensor", "model")
        return None if known else f'parameter "trim" must be tensor or model, found {values["trim"]!r}'

    def surveys_for(self, values: Mapping[str, Any]) -> bool:
        """Only to trim over the whole model."""
        return bool(values["trim"] == "model")

    def survey(self, stack: Stack) -> list[Histogram]:
        """Each model's absolute values."""
        return histograms(stack)

    def gather(self, found: dict[str, Any]) -> list[Histogram]:
        """Those of the whole model."""
        return joined(found.values())

    def prepare(self, stack: Stack) -> Trim:
        """The threshold of every model."""
        if stack.values["trim"] == "model":
            cuts = [h.cut(d) for h, d in zip(stack.surveyed, stack.values["density"], strict=True)]
            return with_rescale(stack, [(cut, None) for cut in cuts])
        entries = math.prod(stack.shape)
        wanted = [(i, kept(d, entries)) for i, d in enumerate(stack.values["density"])]
        return with_rescale(stack, [(cut, None) for cut in select(stack, wanted)])

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the disjoint mean."""
        return elected(state.apply(block), block.stack.values)
