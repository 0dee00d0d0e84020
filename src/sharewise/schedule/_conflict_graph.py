"""Which pairs of tasks must not train together: a graph from the cosines of their gradients."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Rule = Literal["threshold", "signed", "knn", "quantile", "aligned"]
RULES = ("threshold", "signed", "knn", "quantile", "aligned")


def cosines(gram: Tensor) -> Tensor:
    """``[m, m]`` float64 from inner products; NaN with a zero row, of which no angle is known."""
    gram = gram.to(torch.float64)
    norms = gram.diagonal().sqrt()
    return (gram / (norms * norms[:, None])).clamp(-1, 1)


def conflicts(
    cosine: Tensor, tau: float, rule: Rule = "threshold", *, density: float | None = None, neighbours: int = 4
) -> Tensor:
    """The edges: a symmetric BoolTensor ``[m, m]``, False on the diagonal and where a cosine is NaN.

    Args:
        cosine: ``[m, m]``.
        tau: in [0, 1].
        rule: a pair has an edge where its cosine is

            - ``threshold``: below ``-tau``; with ``density``, among that share of all pairs which conflict most, and
              below 0;
            - ``signed``: below 0;
            - ``knn``: below 0, and one of the ``neighbours`` smallest of one of the two tasks;
            - ``quantile``: among the share ``density`` (0.2) of all pairs that is smallest, whatever its sign;
            - ``aligned``: below ``+tau``: only tasks that agree by more train together.
        density, neighbours: see ``rule``.

    Cost O(m^2 log m).
    """
    m = len(cosine)
    known = ~cosine.isnan() & ~torch.eye(m, dtype=torch.bool, device=cosine.device)
    value = torch.where(known, cosine, torch.inf)
    if rule == "aligned":
        return value < tau
    if rule == "signed":
        return value < 0
    if rule == "knn":
        nearest = torch.zeros_like(known)
        count = min(neighbours, m - 1)
        nearest.scatter_(1, value.topk(count, dim=1, largest=False).indices, True)
        return (nearest | nearest.T) & (value < 0)
    if rule == "quantile":
        return _smallest(value, 0.2 if density is None else density)
    return _smallest(value, density) & (value < 0) if density is not None else value < -tau


def _smallest(value: Tensor, share: float) -> Tensor:
    """The ``share`` of all pairs with the smallest values; of equal ones those that come first."""
    rows, columns = torch.triu_indices(len(value), len(value), offset=1, device=value.device)
    pairs = value[rows, columns]
    count = min(round(share * len(pairs)), int(pairs.isfinite().sum()))
    chosen = torch.argsort(pairs, stable=True)[:count]
    found = torch.zeros(value.shape, dtype=torch.bool, device=value.device)
    found[rows[chosen], columns[chosen]] = True
    return found | found.T
