"""DARE: drop and rescale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._method import SEED, Block, Method
from ._elect import elected, sparse_parameters, summed

ABOUT = "divide what is kept by the chance to be kept"


def dropped(block: Block) -> list[Tensor]:
    """Each row with entries kept at random with chance ``density``, divided by it where ``rescale`` is on."""
    found = []
    densities = block.stack.values["density"]
    for row, density, generator in zip(block.rows, densities, block.stack.generators, strict=True):
        if density >= 1:
            found.append(row)
            continue
        mask = torch.rand(row.shape, generator=generator, dtype=torch.float32)
        mask = torch.lt(mask, density, out=mask).to(row.dtype)
        found.append(mask.mul_(row).mul_(1 / density if block.stack.values["rescale"] and density > 0 else 1.0))
    return found


class DareLinear(Method):
    """``theta_0 + lambda sum_t w_t m_t tau_t / density`` with ``m_t`` drawn from Bernoulli(``density``) for every
    entry.

    Yu et al., "Language models are super Mario" (ICML 2024, arXiv 2311.03099, section 3.1); ``density`` is 1 - p there.
    Unbiased: the expectation over draws is task arithmetic. Draws depend on ``seed``, the tensor's name and the model's
    place only. mergekit 0.1.5 rescales to the former sum of absolute values instead of dividing by the chance. One
    pass.
    """

    name = "dare_linear"
    title = "DARE"
    paper = "https://arxiv.org/abs/2311.03099"
    parameters = (*sparse_parameters(False, True, ABOUT), SEED)
    temporaries = 5

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the weighted sum."""
        return summed(dropped(block), block.stack.values)


class DareTies(DareLinear):
    """DARE's thinning, then TIES' election of signs and disjoint sum."""

    name = "dare_ties"
    title = "DARE with TIES"
    temporaries = 8

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the disjoint sum."""
        return elected(dropped(block), block.stack.values)
