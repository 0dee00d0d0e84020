"""KnOTS: task vectors aligned by one SVD, then merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import DENSITY, LAMBDA, WEIGHT_ONE, Parameter
from ._elect import elected, summed
from ._spectral import Spectral
from ._ties import kept


class KnOTS(Spectral):
    """``[tau_1 ... tau_T] = U S [V_1 ... V_T]`` (side by side along the inputs); the ``V_t``, which now live in one
    basis, are merged by TIES (``knots_merge: ties``) or summed (``sum``) to ``V``; the task vector is ``U S V``.

    Stoica et al., "Model merging with SVD to tie the KnOTS" (ICLR 2025, arXiv 2410.19735, section 4). Made for LoRA,
    whose task vectors share little of a basis; with ``sum`` it is task arithmetic.
    """

    name = "knots"
    title = "KnOTS"
    paper = "https://arxiv.org/abs/2410.19735"
    parameters = (
        WEIGHT_ONE,
        DENSITY,
        LAMBDA,
        Parameter("normalize", "divide by the sum of the weights of those that count", True, bool),
        Parameter("knots_merge", "ties or sum", "ties", str),
    )

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """There are two ways to merge."""
        known = values["knots_merge"] in ("ties", "sum")
        return None if known else f'knots_merge must be ties or sum, found "{values["knots_merge"]}"'

    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """``U S V``."""
        left, sizes, right = torch.linalg.svd(torch.cat(list(matrices), 1), full_matrices=False)
        parts = list(right.view(len(sizes), len(matrices), -1).unbind(1))
        plain = {**values, "lambda": 1.0}  # the caller scales
        if values["knots_merge"] == "sum":
            return (left * sizes) @ summed(parts, plain)
        trimmed = []
        for part, density in zip(parts, values["density"], strict=True):
            k = kept(density, part.numel())
            least = part.abs().flatten().kthvalue(part.numel() - k + 1).values if k else torch.inf
            trimmed.append(part * (part.abs() >= least))
        return (left * sizes) @ elected(trimmed, plain)
