"""The Karcher (Riemannian) mean on the sphere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import WEIGHT_ONE, Parameter
from ._gram import GramMethod


def karcher(cosines: Tensor, shares: Tensor, steps: int, tolerance: float) -> Tensor:
    """Coordinates ``[n]``, in the unit vectors with these inner products ``[n, n]``, of their weighted mean on the
    sphere.

    ``mu <- exp_mu(sum_t shares_t log_mu(u_t))`` until the step is shorter than ``tolerance``, starting from the
    normalized mean (from the first vector where that is 0). O(n^2) a step, as all points are sums of the vectors.
    """

    def length(c: Tensor) -> Tensor:
        return torch.dot(c, cosines @ c).clamp(min=0).sqrt()

    mean = shares.clone()
    mean = mean / length(mean) if length(mean) >= tolerance else torch.eye(len(shares), dtype=shares.dtype)[0]
    for _ in range(steps):
        dots = (cosines @ mean).clamp(-1, 1)
        angles = torch.arccos(dots)
        ratio = torch.where(angles < tolerance, torch.zeros_like(angles), angles / torch.sin(angles))
        ratio = torch.nan_to_num(ratio, posinf=0.0) * shares
        step = ratio - torch.dot(ratio, dots) * mean
        size = length(step)
        if size < tolerance:
            break
        mean = torch.cos(size) * mean + torch.sin(size) * step / size
        mean = mean / length(mean)
    return mean


class Karcher(GramMethod):
    """The point of the sphere with the least mean squared angle to the models' directions, times their mean norm.

    Karcher, "Riemannian center of mass and mollifier smoothing" (1977); iteration as in Afsari, Tron and Vidal (SIAM J.
    Control 2013, gradient descent with step 1). For two models of equal weight this is SLERP at 1/2. A base, if
    named, is one of the models. Models whose tensor is 0 are left out of the direction. Two passes.
    """

    name = "karcher"
    title = "Karcher mean"
    paper = "https://arxiv.org/abs/2603.04972"
    base = "first"
    parameters = (
        WEIGHT_ONE,
        Parameter("max_iter", "most iterations", 10, int, low=1),
        Parameter("tol", "stop where a step is shorter", 1e-5, low=0.0),
    )

    def coefficients(self, gram: Tensor, values: Mapping[str, Any]) -> Tensor:
        """Each model's weight in this tensor."""
        weights = torch.tensor(values["weight"], dtype=gram.dtype)
        norms = gram.diagonal().clamp(min=0).sqrt()
        alive = norms > values["tol"]
        found = torch.zeros_like(weights)
        if not alive.any():
            return found
        units = gram[alive][:, alive] / torch.outer(norms[alive], norms[alive])
        shares = weights[alive] / weights[alive].sum()
        mean = karcher(units.clamp(-1, 1), shares, values["max_iter"], values["tol"])
        found[alive] = mean / norms[alive] * (torch.dot(weights, norms) / weights.sum())
        return found
