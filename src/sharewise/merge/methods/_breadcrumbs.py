"""Model Breadcrumbs."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from .._method import Block, Method, Parameter, Stack
from .._select import select
from ._elect import elected, sparse_parameters, summed
from ._ties import RESCALE, Trim, with_rescale

GAMMA = Parameter("gamma", "share of the largest entries dropped", 0.01, each=True, low=0.0, high=1.0)


class Breadcrumbs(Method):
    """Task arithmetic without each task vector's outliers: of every tensor the largest ``gamma`` of the entries and the
    smallest ``1 - density - gamma`` (by absolute value) are dropped; with ``density`` 1 nothing is.

    Davari and Belilovsky, "Model breadcrumbs" (ECCV 2024, arXiv 2312.06795, section 3). Where both shares do not fit,
    fewer large entries are dropped, so that ``density`` is kept. Three or four passes.
    """

    name = "breadcrumbs"
    title = "Model Breadcrumbs"
    paper = "https://arxiv.org/abs/2312.06795"
    parameters = sparse_parameters(False, False, RESCALE, GAMMA)
    passes = 3
    temporaries = 6

    def prepare(self, stack: Stack) -> Trim:
        """A lower and an upper threshold of every model."""
        entries = math.prod(stack.shape)
        wanted = []
        for i, (density, gamma) in enumerate(zip(stack.values["density"], stack.values["gamma"], strict=True)):
            middle = int(density * entries)
            largest = min(int(gamma * entries), entries - middle) if density < 1 else 0
            wanted += [(i, largest + middle if density < 1 else entries), (i, largest)]
        cuts = select(stack, wanted)
        return with_rescale(stack, list(zip(cuts[::2], cuts[1::2], strict=True)))

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the weighted sum."""
        return summed(state.apply(block), block.stack.values)


class BreadcrumbsTies(Breadcrumbs):
    """Model Breadcrumbs' thinning, then TIES' election of signs and disjoint sum."""

    name = "breadcrumbs_ties"
    title = "Model Breadcrumbs with TIES"
    temporaries = 8

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the disjoint sum."""
        return elected(state.apply(block), block.stack.values)
