"""NuSLERP: SLERP with weights, of task vectors if there is a base, of whole tensors or row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import WEIGHT, Block, Method, Parameter, Reach, Stack
from ._gram import gram
from ._linear import weighted_sum
from ._slerp import arc

_STRAIGHT = 1 - 1e-8


class NuSlerp(Method):
    """``[sin((1 - t) Omega) a + sin(t Omega) b] / sin Omega`` with ``t = w_b / (w_a + w_b)`` and ``Omega`` the angle
    between the whole tensors, or, with ``nuslerp_flatten`` off, between their rows (``nuslerp_row_wise``: their
    columns).

    Goddard (mergekit's ``nuslerp``). Parallel ones are interpolated linearly. Two passes; by columns the tensor is
    held whole.
    """

    name = "nuslerp"
    title = "NuSLERP"
    paper = "https://github.com/arcee-ai/mergekit"
    base = "optional"
    least = most = 2
    parameters = (
        WEIGHT,
        Parameter("nuslerp_flatten", "one angle a tensor", True, bool),
        Parameter("nuslerp_row_wise", "one angle a column, where not one a tensor", False, bool),
    )
    passes = 2
    temporaries = 6

    def reach_of(self, name: str, shape: tuple[int, ...], values: Mapping[str, Any]) -> Reach:
        """Rows, or the tensor for columns."""
        if values["nuslerp_flatten"]:
            return "entries"
        return "tensor" if values["nuslerp_row_wise"] else "rows"

    def prepare(self, stack: Stack) -> list[float] | None:
        """The two weights, where there is one angle a tensor."""
        if not stack.values["nuslerp_flatten"]:
            return None
        total = torch.zeros(2, 2, dtype=torch.float64)
        for block in stack.blocks():
            total += gram(block.rows)
        norms = total.diagonal().sqrt().clamp(min=1e-7)
        cosine = (total[0, 1] / norms.prod()).clamp(-1, 1)
        return [float(c) for c in arc(cosine, _place(stack.values), _STRAIGHT)]

    def combine(self, block: Block, state: list[float] | None) -> Tensor:
        """One block of the interpolation."""
        if state is not None:
            return weighted_sum(block.rows, state)
        a, b = block.rows
        along = 0 if block.stack.values["nuslerp_row_wise"] and a.ndim > 1 else -1
        norms = [torch.linalg.vector_norm(x, dim=along, keepdim=True).clamp(min=1e-7) for x in (a, b)]
        cosine = (a / norms[0] * (b / norms[1])).sum(along, keepdim=True).clamp(-1, 1)
        first, second = arc(cosine.double(), _place(block.stack.values), _STRAIGHT)
        return first.to(a.dtype) * a + second.to(a.dtype) * b


def _place(values: Mapping[str, Any]) -> float:
    a, b = values["weight"]
    return 0.5 if abs(a + b) < 1e-6 else b / (a + b)
