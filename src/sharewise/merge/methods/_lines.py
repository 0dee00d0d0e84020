"""LiNeS: later layers of the task vector count more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._method import WEIGHT_ONE, Block, Method, Parameter, Stack
from ._gram import gram
from ._linear import weighted_sum


class LiNeS(Method):
    """Task arithmetic whose task vector is scaled by ``alpha + beta l / (L - 1)`` in layer ``l`` of ``L``, by ``alpha``
    outside of the layers.

    Wang et al., "LiNeS" (ICLR 2025, arXiv 2410.17146, equations 3 and 4). Without ``alpha`` it is
    ``|sum tau_t| / (T |sum w_t tau_t|)`` over the whole model, as there; tune ``beta`` on validation data (for one
    model ``alpha = s``, ``beta = 1 - s``). Two passes.
    """

    name = "lines"
    title = "LiNeS"
    paper = "https://arxiv.org/abs/2410.17146"
    parameters = (
        WEIGHT_ONE,
        Parameter("alpha", "scale of the first layer; found from norms if not given"),
        Parameter("beta", "how much more the last layer counts", 0.5),
    )
    surveys = True
    temporaries = 1

    def survey(self, stack: Stack) -> tuple[float, float]:
        """Squared norms of the plain and of the weighted sum of task vectors."""
        n = len(stack.models)
        total = torch.zeros(n, n, dtype=torch.float64)
        if stack.values["alpha"] is None:
            for block in stack.blocks():
                total += gram(block.rows)
        weights = torch.tensor(stack.values["weight"], dtype=torch.float64)
        return float(total.sum()), float(weights @ total @ weights)

    def gather(self, found: dict[str, Any]) -> float:
        """The ratio of the norms."""
        plain, weighted = (sum(f[i] for f in found.values()) for i in (0, 1))
        return float((plain / weighted) ** 0.5) if weighted > 0 else 1.0

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the scaled sum."""
        values, (layer, layers) = block.stack.values, block.stack.depth
        alpha = values["alpha"]
        if alpha is None:
            alpha = block.stack.surveyed / len(block.rows)
        along = max(layer, 0) / max(layers - 1, 1)
        return weighted_sum(block.rows, values["weight"]).mul_(alpha + values["beta"] * along)
