"""SCE: select, calculate, erase."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._method import Block, Method, Parameter, Stack
from .._select import EVERYTHING, Cut, select
from ._elect import disjoint, signs_of
from ._linear import weighted_sum


def variance(rows: Tensor) -> Tensor:
    """``[n, entries]`` -> ``[1, entries]``: population variance over the models; exactly 0 where they agree.

    Row by row, a hundred times as fast as ``var`` over so short an axis; relative to the first row, so that values that
    agree leave no rounding behind.
    """
    mean = torch.zeros_like(rows[0])
    for row in rows[1:]:
        mean.add_(row - rows[0])
    mean.div_(len(rows))
    total = mean.square()
    for row in rows[1:]:
        apart = (row - rows[0]).sub_(mean)
        total.addcmul_(apart, apart)
    return total.div_(len(rows)).unsqueeze(0)


@dataclass(frozen=True)
class Chosen:
    """Which entries vary most, and each model's weight."""

    cut: Cut
    weights: list[float]


def _selected(block: Block, cut: Cut) -> Tensor:
    rows = block.rows.flatten(1)
    if cut is EVERYTHING:
        return rows
    mask = cut.keep(variance(rows)[0], block.start)
    return rows * torch.gt(mask, 0, out=mask)


class SCE(Method):
    """Select the ``select_topk`` share of entries whose variance over the task vectors is largest; weigh each model
    by its mean square there; erase entries against the sign of the sum; average what is left with those weights.

    Wan et al., "FuseChat" (arXiv 2408.07990, section 3.3). The share is taken of the entries that vary at all. With one
    model nothing varies and only ``select_topk: 1`` keeps it. Up to five passes.
    """

    name = "sce"
    title = "SCE"
    paper = "https://arxiv.org/abs/2408.07990"
    parameters = (Parameter("select_topk", "share of entries kept, by variance", 1.0, low=0.0, high=1.0),)
    passes = 5
    temporaries = 10

    def prepare(self, stack: Stack) -> Chosen:
        """The threshold and the weights."""
        share, cut = stack.values["select_topk"], EVERYTHING
        if share < 1:
            varying = sum(int(np.count_nonzero(variance(b.rows.flatten(1)).numpy() > 0)) for b in stack.blocks())
            (cut,) = select(stack, [(0, min(int(share * varying), math.prod(stack.shape) - 1))], variance)
        squares = torch.zeros(len(stack.models), dtype=torch.float64)
        for block in stack.blocks():
            squares += _selected(block, cut).square().sum(1).double()
        means = squares / max(math.prod(stack.shape), 1)
        total = float(means.sum())
        equal = [1 / len(means)] * len(means)
        return Chosen(cut, (means / total).tolist() if total >= 1e-6 else equal)

    def combine(self, block: Block, state: Chosen) -> Tensor:
        """One block of the weighted mean of what was not erased."""
        rows = list(_selected(block, state.cut))
        gamma = signs_of(weighted_sum(rows, [1.0] * len(rows)))  # elected without weights, averaged with them
        return disjoint(rows, state.weights, gamma, normalize=True)
