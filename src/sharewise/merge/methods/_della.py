"""DELLA: large entries are kept with a larger chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import SEED, Block, Method, Parameter
from ._dare import ABOUT
from ._elect import elected, sparse_parameters, summed

EPSILON = Parameter("epsilon", "how far the chances reach around density", 0.15, each=True, low=0.0, high=0.5)


def chances(columns: int, density: float, epsilon: float, dtype: torch.dtype) -> Tensor:
    """Chance to be kept by rank in a row, smallest first: ``density - epsilon`` to ``density + epsilon``."""
    if columns == 1:
        return torch.full((1,), density, dtype=dtype)
    return torch.linspace(density - epsilon, density + epsilon, columns, dtype=dtype)


def dropped_by_rank(block: Block) -> list[Tensor]:
    """Each matrix with entries kept at random by their rank in their row, divided by the chance if ``rescale``."""
    found, values = [], block.stack.values
    each = zip(block.rows, values["density"], values["epsilon"], block.stack.generators, strict=True)
    for row, density, epsilon, generator in each:
        if density >= 1 or density <= 0:
            found.append(row if density >= 1 else torch.zeros_like(row))
            continue
        matrix = row.reshape(-1, row.shape[-1])
        chance = chances(matrix.shape[1], density, epsilon, row.dtype)
        # Draws are made in order of rank and put back in place: one sort, not two.
        drawn = torch.rand(matrix.shape, generator=generator, dtype=torch.float32).to(row.dtype)
        factor = (drawn < chance).to(row.dtype)
        if values["rescale"]:
            factor.div_(chance)
        order = matrix.abs().argsort(dim=1, stable=True)
        found.append(torch.empty_like(matrix).scatter_(1, order, factor).mul_(matrix).view_as(row))
    return found


class DellaLinear(Method):
    """Task arithmetic on task vectors thinned out by rank: within each row of a matrix an entry is kept with a
    chance that rises linearly from ``density - epsilon`` (smallest absolute value) to ``density + epsilon``, and
    divided by it.

    Deep, Bhardwaj and Poria, "DELLA-merging" (arXiv 2406.11617, section 3, MagPrune). Unbiased, as DARE is. mergekit
    0.1.5 rescales to the former sum of absolute values instead. A vector is one row. One pass, one sort of each row.
    """

    name = "della_linear"
    title = "DELLA without election"
    paper = "https://arxiv.org/abs/2406.11617"
    reach = "rows"
    parameters = (*sparse_parameters(False, True, ABOUT, EPSILON), SEED)
    temporaries = 12

    def complaint(self, values: Mapping[str, Any]) -> str | None:
        """Chances must be chances."""
        for density, epsilon in zip(values["density"], values["epsilon"], strict=True):
            if 0 < density < 1 and not (density - epsilon > 0 and density + epsilon < 1):
                return f"density - epsilon and density + epsilon must lie in (0, 1), found {density} and {epsilon}"
        return None

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the weighted sum."""
        return summed(dropped_by_rank(block), block.stack.values)


class Della(DellaLinear):
    """DELLA: thinning by rank, then TIES' election of signs and disjoint mean."""

    name = "della"
    title = "DELLA"
    parameters = (*sparse_parameters(True, True, ABOUT, EPSILON), SEED)
    temporaries = 14

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the disjoint mean."""
        return elected(dropped_by_rank(block), block.stack.values)
