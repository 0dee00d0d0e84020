"""Model Stock."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._method import Block, Method, Parameter, Stack
from ._gram import gram


def ratio(cosine: Tensor, models: int) -> Tensor:
    """``t = T c / ((T - 1) c + 1)``; 0 (the base) where the denominator vanishes."""
    below = 1 + (models - 1) * cosine
    lost = below.abs() < 1e-6
    return torch.where(
        lost, torch.zeros_like(cosine), models * cosine / torch.where(lost, torch.ones_like(below), below)
    )


def mean_cosine(grams: Tensor) -> Tensor:
    """Mean over pairs of the cosines: ``[..., n, n]`` -> ``[...]``."""
    norms = grams.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    cosines = grams / (norms.unsqueeze(-1) * norms.unsqueeze(-2)).clamp(min=1e-6)
    i, j = torch.triu_indices(grams.shape[-1], grams.shape[-1], 1)
    return cosines.clamp(-1, 1)[..., i, j].mean(-1)


class ModelStock(Method):
    """``theta_0 + t mean_t(tau_t)`` with ``t = T c / ((T - 1) c + 1)`` and ``c`` the mean cosine between task vectors.

    Jang, Yun and Han, "Model stock" (ECCV 2024, arXiv 2403.19522, equation 9 generalized to T models), for each tensor;
    with ``filter_wise`` for each of its rows. Two passes.
    """

    name = "model_stock"
    title = "Model Stock"
    paper = "https://arxiv.org/abs/2403.19522"
    least = 2
    reach = "rows"
    parameters = (Parameter("filter_wise", "one ratio a row instead of one a tensor", False, bool),)
    passes = 2
    temporaries = 3

    def prepare(self, stack: Stack) -> Tensor | None:
        """The ratio, where there is one a tensor."""
        if stack.values["filter_wise"]:
            return None
        n = len(stack.models)
        total = torch.zeros(n, n, dtype=torch.float64)
        for block in stack.blocks():
            total += gram(block.rows)
        return ratio(mean_cosine(total), n)

    def combine(self, block: Block, state: Any) -> Tensor:
        """One block of the shortened mean task vector."""
        mean = block.rows.mean(0)
        if state is not None:
            return mean * float(state)
        by_row = torch.einsum("irc,jrc->rij", block.rows, block.rows)
        return mean * ratio(mean_cosine(by_row), len(block.rows)).unsqueeze(-1)
