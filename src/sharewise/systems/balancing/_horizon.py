"""Utilities over a horizon, and what they come to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._users import Array, welfare


def horizon_means(utilities: Array, present: npt.NDArray[np.bool_] | None = None, until: float = 1.0) -> Array:
    """Mean utility of each user [m] over the first part of ``utilities`` [S, m], counting steps it was ``present``."""
    steps = max(1, round(until * len(utilities)))
    seen = np.ones_like(utilities, dtype=bool) if present is None else present
    count = seen[:steps].sum(0)
    total = np.where(seen[:steps], utilities[:steps], 0.0).sum(0)
    return np.asarray(total[count > 0] / count[count > 0])


def equity(u: Array, alpha: float) -> dict[str, float]:
    """Of horizon means ``u`` [m]: ``mean_utility``, ``min_utility``, ``gap`` (largest less smallest), ``jain``
    (Jain's index ``(sum u)^2 / (m sum u^2)``, 1 where all are equal) and ``fairness`` (``F_alpha``)."""
    return {
        "mean_utility": float(u.mean()),
        "min_utility": float(u.min()),
        "gap": float(u.max() - u.min()),
        "jain": float(u.sum() ** 2 / (len(u) * (u**2).sum())),
        "fairness": welfare(u, alpha),
    }
