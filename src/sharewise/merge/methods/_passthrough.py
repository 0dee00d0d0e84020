"""Passthrough: layers of models stacked as they are."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .._method import Block, Method, Parameter


class Passthrough(Method):
    """The model's own tensor, times ``scale`` where it is given; with slices, models stacked from layers of others.

    Kim et al., "SOLAR 10.7B" (arXiv 2312.15166, depth up-scaling) is the best known use. One pass.
    """

    name = "passthrough"
    title = "Passthrough (stacked layers)"
    paper = "https://arxiv.org/abs/2312.15166"
    base = "ignored"
    most = 1
    parameters = (Parameter("scale", "factor", each=True),)
    temporaries = 1

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block, as it is or scaled."""
        (scale,) = block.stack.values["scale"]
        return block.rows[0] * (1.0 if scale is None else scale)
