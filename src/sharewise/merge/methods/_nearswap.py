"""NearSwap."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .._method import Block, Method, Parameter


class NearSwap(Method):
    """``theta_0 + clamp(theta_1 - theta_0, -t, t)``: the other model where it is within ``t``, else ``t`` towards it.

    alchemonaut's rule (mergekit's ``nearswap``): weight ``min(t / |theta_1 - theta_0|, 1)`` on the other model,
    which is this clamp. One pass.
    """

    name = "nearswap"
    title = "NearSwap"
    paper = "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001"
    most = 1
    parameters = (Parameter("t", "the most an entry moves", low=0.0, required=True),)
    temporaries = 1

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the clamped difference."""
        t = block.stack.values["t"]
        return block.rows[0].clamp(-t, t)
