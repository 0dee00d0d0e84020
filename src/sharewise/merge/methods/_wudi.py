"""WUDI: the task vector that interferes least, found without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import LAMBDA, Parameter
from ._spectral import Spectral


class WUDI(Spectral):
    """The matrix ``m`` that minimizes ``sum_t |(m - tau_t) tau_t^T|^2 / |tau_t|^2``, by Adam from ``m = sum_t
    tau_t``: a layer's inputs lie about in the span of its task vector, so this is the change of each task's outputs.

    Cheng et al., "Whoever started the interference should end it" (ICML 2025, arXiv 2503.08099, equation 10 and
    algorithm 1).
    """

    name = "wudi"
    title = "WUDI"
    paper = "https://arxiv.org/abs/2503.08099"
    parameters = (
        LAMBDA,
        Parameter("steps", "of Adam", 300, int, low=0),
        Parameter("learning_rate", "of Adam", 1e-5, low=0.0),
    )

    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """Adam's last iterate."""
        m = matrices.sum(0)
        sizes = matrices.square().sum((1, 2)).clamp(min=1e-30)
        # The gradient by hand: 2 sum_t (m - tau_t) tau_t^T tau_t / |tau_t|^2 = 2 (m A - B).
        inner = torch.einsum("tij,tik->tjk", matrices, matrices) / sizes.view(-1, 1, 1)
        a, b = inner.sum(0), torch.einsum("tij,tjk->ik", matrices, inner)
        first, second = torch.zeros_like(m), torch.zeros_like(m)
        for step in range(1, values["steps"] + 1):
            gradient = 2 * (m @ a - b)
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient.square(), 0.001)
            size = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
            m = m - values["learning_rate"] / (1 - 0.9**step) * first / size
        return m
