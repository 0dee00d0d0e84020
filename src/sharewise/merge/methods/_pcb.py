"""PCB: parameter competition balancing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._method import WEIGHT_ONE, Block, Method, Parameter, Stack
from .._select import Cut, select

_TAIL = 1e-4
"""Share of entries clipped at both ends before magnitudes are compared."""


@dataclass(frozen=True)
class Scales:
    """Each model's clipping bounds, threshold of the score, and largest score."""

    low: list[float]
    high: list[float]
    cuts: list[Cut]
    top: list[float]


class PCB(Method):
    """Entries compete: by their size within a model (``s_t = exp(T n(|tau_t|)^2)``, ``n`` scaling to 0 ... 1) and by
    whether the others pull the same way (``c_t = tanh(tau_t sum_s tau_s)``). The best ``ratio`` of each model by
    ``s_t c_t``, scaled to 0 ... 1 as ``M_t``, are averaged: ``theta_0 + sum_t M_t w_t tau_t / sum_t M_t``.

    Du et al., "Parameter competition balancing" (NeurIPS 2024, arXiv 2410.02396, equations 1 to 5). What differs:
    scores are ranked within each tensor, not over the model; entries whose score is not positive never count. Six
    passes.
    """

    name = "pcb"
    title = "PCB"
    paper = "https://arxiv.org/abs/2410.02396"
    parameters = (
        WEIGHT_ONE,
        Parameter("ratio", "share of entries of each model that compete on", 0.1, low=0.0, high=1.0),
    )
    passes = 6
    temporaries = 16

    def prepare(self, stack: Stack) -> Scales:
        """Bounds, thresholds and largest scores."""
        n, entries = len(stack.models), math.prod(stack.shape)
        tail = max(1, int(_TAIL * entries))
        cuts = select(stack, [(i, k) for i in range(n) for k in (tail, entries - tail)])
        high, low = [c.value for c in cuts[::2]], [c.value if entries > 2 * tail else 0.0 for c in cuts[1::2]]

        def score(rows: Tensor) -> Tensor:
            return _score(rows, low, high)

        chosen = select(stack, [(i, max(1, int(stack.values["ratio"] * entries))) for i in range(n)], score)
        top = torch.zeros(n, dtype=torch.float64)
        for block in stack.blocks():
            top = torch.maximum(top, score(block.rows).amax(1).double())
        return Scales(low, high, chosen, top.tolist())

    def combine(self, block: Block, state: Scales) -> Tensor:
        """One block of the weighted mean of winners."""
        scores = _score(block.rows, state.low, state.high)
        total, divisor = torch.zeros_like(scores[0]), torch.zeros_like(scores[0])
        for i, weight in enumerate(block.stack.values["weight"]):
            won = state.cuts[i].keep(scores[i], block.start)
            room = state.top[i] - state.cuts[i].value
            share = (won - state.cuts[i].value).relu_().div_(room) if room > 0 else torch.gt(won, 0).to(won.dtype)
            total.addcmul_(share, block.rows[i], value=weight)
            divisor.add_(share)
        return total.div_(divisor.clamp_(min=1e-12))


def _score(rows: Tensor, low: list[float], high: list[float]) -> Tensor:
    """``s_t c_t`` where positive, else 0: ``[n, entries]``."""
    bounds = [torch.tensor(b, dtype=rows.dtype).unsqueeze(1) for b in (low, high)]
    size = (rows.abs().clamp(*bounds) - bounds[0]).div_((bounds[1] - bounds[0]).clamp(min=1e-30))
    within = size.square_().mul_(len(rows)).exp_()
    return within.mul_(torch.tanh(rows * rows.sum(0))).relu_()
