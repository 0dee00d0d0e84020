"""Fisher-weighted averaging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import MergeError
from .._method import WEIGHT_ONE, Block, Method, Parameter, Stack
from .._statistics import holders
from ._linear import weighted_sum

if TYPE_CHECKING:
    from .._reading import Part

UNSEEN = Parameter("unseen", "what no model has statistics of: refuse, or average", "refuse", str)


def check_unseen(values: Mapping[str, Any]) -> str | None:
    """What is wrong with ``unseen``."""
    known = ("refuse", "average")
    return (
        None if values["unseen"] in known else f"unseen must be one of {', '.join(known)}, found {values['unseen']!r}"
    )


class Fisher(Method):
    """``sum_t w_t F_t theta_t / sum_t w_t F_t``, entry by entry: each model counts where its predictions depend on it.

    Matena and Raffel, "Merging models with Fisher-weighted averaging" (NeurIPS 2022, arXiv 2111.09832, section 3). The
    maximum of the product of Gaussian posteriors with precisions ``F_t``. Takes the diagonals that
    :func:`~sharewise.merge.collect_fisher` finds; entries below ``floor`` count as ``floor``, so that what no model
    depends on is averaged. ``normalize`` divides each model's Fisher by its norm over all tensors, as there. One pass
    (two with ``normalize``); the Fisher of one tensor of all models is in memory.
    """

    name = "fisher"
    title = "Fisher"
    paper = "https://arxiv.org/abs/2111.09832"
    base = "optional"
    statistics = "fisher"
    parameters = (
        WEIGHT_ONE,
        Parameter("floor", "the least a Fisher entry counts", 1e-6, low=0.0),
        Parameter("normalize", "divide each model's Fisher by its norm", False, bool),
        UNSEEN,
    )
    surveys = True
    temporaries = 6

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """Weights below 0 would make precisions below 0."""
        if min(values["weight"]) < 0 or sum(values["weight"]) <= 0:
            return f"weights must be at least 0 and not all 0, found {values['weight']}"
        return check_unseen(values)

    def examine(self, parts: Sequence[Part], values: Mapping[str, Any]) -> None:
        """Every model's Fisher, in the tensor's shape."""
        if not holders(parts, "fisher", required=values["unseen"] == "refuse"):
            return
        for part in parts:
            assert part.statistics is not None
            found = part.statistics.tensors[part.tensor].shape
            if found != part.info.shape:
                raise MergeError(
                    f'the Fisher information of tensor "{part.tensor}" of model "{part.source.name}" is {list(found)}, '
                    f"the tensor {list(part.info.shape)}: collect it from this model with sw.merge.collect_fisher"
                )

    def survey(self, stack: Stack) -> list[float]:
        """Squared norms of the Fishers of this tensor."""
        found = stack.statistic() if stack.values["normalize"] else None
        return [float(f.double().square().sum()) for f in found or []]

    def gather(self, found: dict[str, Any]) -> list[float]:
        """The norm of each model's Fisher over all tensors."""
        squares = [f for f in found.values() if f]
        return [sum(s) ** 0.5 or 1.0 for s in zip(*squares, strict=True)]

    def prepare(self, stack: Stack) -> list[Tensor]:
        """What each entry of each model counts, flat; equal where there are no statistics."""
        fishers, values = stack.statistic(), stack.values
        if fishers is None:
            return [torch.tensor([w], dtype=stack.dtype) for w in values["weight"]]
        norms = stack.surveyed if values["normalize"] else [1.0] * len(fishers)
        return [
            (f.flatten().to(stack.dtype) / norm).clamp_(min=values["floor"]).mul_(w)
            for f, norm, w in zip(fishers, norms, values["weight"], strict=True)
        ]

    def combine(self, block: Block, state: list[Tensor]) -> Tensor:
        """One block of the weighted average."""
        end = block.start + block.rows[0].numel()
        counts = [c if c.numel() == 1 else c[block.start : end] for c in state]
        total = weighted_sum([row * c for row, c in zip(block.rows, counts, strict=True)], [1.0] * len(counts))
        divisor = weighted_sum(counts, [1.0] * len(counts))
        # Where all count 0 (a floor of 0): the plain average.
        return torch.where(divisor > 0, total / divisor.clamp(min=1e-38), block.rows.mean(0))
