"""Election of signs and the disjoint mean (Yadav et al., "TIES-merging", NeurIPS 2023, section 4.1, steps 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._method import DENSITY, LAMBDA, WEIGHT, Parameter
from ._linear import weighted_sum
from ._task_arithmetic import scale_of


def sparse_parameters(normalize: bool, rescale: bool, about: str, *more: Parameter) -> tuple[Parameter, ...]:
    """What all methods take that thin task vectors out."""
    return (
        WEIGHT,
        DENSITY,
        *more,
        Parameter("normalize", "divide by the sum of the weights of those that count", normalize, bool),
        Parameter("rescale", about, rescale, bool),
        LAMBDA,
    )


def signs_of(total: Tensor) -> Tensor:
    """1 or -1 for every entry; 1 where the sum is 0."""
    return torch.copysign(torch.ones((), dtype=total.dtype), total + 0.0)


def elected(rows: Sequence[Tensor], values: Mapping[str, Any]) -> Tensor:
    """Entries that agree with the sign of the weighted sum, added with their weights.

    ``gamma = sign(sum_t w_t x_t)``, then ``lambda sum_t w_t x_t [w_t x_t gamma > 0]``, divided, where ``normalize`` is
    on, by ``sum_t w_t [w_t x_t gamma > 0]`` (by 1 where that is 0). A sum of exactly 0 counts as positive.

    Args:
        rows: one tensor a model, thinned out.
        values: ``weight``, ``normalize`` and ``lambda``.
    """
    gamma = signs_of(weighted_sum(rows, values["weight"]))
    return disjoint(rows, values["weight"], gamma, values["normalize"]).mul_(values["lambda"])


def disjoint(rows: Sequence[Tensor], weights: Sequence[float], gamma: Tensor, normalize: bool) -> Tensor:
    """The sum (or mean) with weights of the entries whose weighted sign is ``gamma``; 0 where there are none."""
    total, divisor, counted = (torch.zeros_like(rows[0]) for _ in range(3))
    for row, weight in zip(rows, weights, strict=True):
        agreeing = torch.mul(row, gamma).mul_(weight).relu_()
        total.add_(agreeing)
        if normalize:
            divisor.add_(torch.gt(agreeing, 0, out=counted), alpha=weight)
    if normalize:
        torch.eq(divisor, 0, out=counted)
        total.div_(divisor.add_(counted))
    return total.mul_(gamma)


def summed(rows: Sequence[Tensor], values: Mapping[str, Any]) -> Tensor:
    """``lambda sum_t w_t x_t``, over the sum of the weights where ``normalize`` is on."""
    scale = scale_of(values)
    return weighted_sum(rows, [scale * w for w in values["weight"]])
