"""Multi-SLERP: a weighted mean of directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import MergeError
from .._method import WEIGHT, Parameter
from ._gram import GramMethod


class MultiSlerp(GramMethod):
    """The weighted mean of the models' directions, brought back to the sphere, times the weighted mean of their norms:
    ``sum_t w_t |x_t| * m / |m|`` with ``m = sum_t w_t x_t / |x_t|``; ``x_t`` are task vectors where there is a base.

    Goddard's construction (mergekit's ``multislerp``) projects the directions onto the tangent space at ``m`` and maps
    their weighted sum back; as projections onto the tangent space at their own mean they sum to 0, which leaves this
    formula. Two passes.
    """

    name = "multislerp"
    title = "Multi-SLERP"
    paper = "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea"
    base = "optional"
    parameters = (
        WEIGHT,
        Parameter("normalize_weights", "divide the weights by their sum", True, bool),
        Parameter("eps", "norms below are 0", 1e-8, low=0.0),
    )

    def coefficients(self, gram: Tensor, values: Mapping[str, Any]) -> Tensor:
        """Each model's weight in this tensor."""
        weights, eps = torch.tensor(values["weight"], dtype=gram.dtype), values["eps"]
        if values["normalize_weights"]:
            weights = weights / weights.sum()
        norms = gram.diagonal().clamp(min=0).sqrt()
        units = weights / (norms + eps)
        length = torch.dot(units, gram @ units).clamp(min=0).sqrt()
        if not norms.any() or len(weights) == 1:
            return torch.ones_like(weights)
        if length < eps:
            if len(weights) == 2:
                return weights
            raise MergeError("multislerp: the directions cancel out; other weights would not")
        return units / length * torch.dot(weights, norms)
