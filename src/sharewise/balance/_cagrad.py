"""CAGrad: the best worst improvement within a ball around the mean gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer
from ._cosines import positive_definite, split
from ._nonnegative import minimise

_ROUNDS = 60  # of the search for the level; as a rule 2 to 6
_TOLERANCE = 1e-13  # of the distance: next to a Pareto-stationary point d changes by the root of it
_STANDSTILL = 1e-9  # of the level; both times the radius
_MADE = 1e-2  # share of the squared distance owed to the ridge on the cosines: above it there was no such level


class CAGrad(GramBalancer):
    """The direction with the largest smallest improvement, ``max_d min_k <g_k, d>``, where ``|d - g_0| <= c |g_0|``.

    ``g_0`` is the mean gradient. c = 0 gives ``g_0``, large c the direction of ``mgda``. From c = 1 on no loss rises to
    first order; for smaller c one may, but the mean loss never does.

    At the optimum d is the point nearest to ``g_0`` with ``<g_k, d> >= level`` for every k: a quadratic program over
    non-negative multipliers (:mod:`sharewise.balance._nonnegative`), solved for levels until the distance is
    ``c |g_0|``; on each active set the level is the root of a quadratic, so the search ends after a few. Residual: the
    distance is ``c |g_0|`` to 1e-10, for cosines with 1e-12 added to their diagonal, and the program's own 1e-12.

    Where the best level is 0 and does not need the whole ball (at a Pareto-stationary point with c >= 1, or with a
    zero row), the nearest such point to ``g_0`` is taken, which is the direction of ``dualproj``. A point counts as
    Pareto-stationary when more than 1 % of the squared distance would be owed to the 1e-12.

    Source: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, algorithm 1, which
    solves the dual over the simplex, ``d = g_0 + c |g_0| g_w / |g_w|``, numerically.

    Args:
        c: radius of the ball relative to ``|g_0|``, >= 0. The paper uses 0.2 to 0.8; 0.4 and 0.5 are common.
        rescale: what the direction is divided by: 0, nothing (the paper's direction); 1, ``1 + c^2`` (the authors' code
            and the default); 2, ``1 + c`` (one task alone then keeps its gradient as it is).
        tasks: see :class:`Balancer`.

    A zero row counts in the mean, and as an improvement of 0.
    """

    def __init__(self, *, c: float = 0.5, rescale: int = 1, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if not 0 <= c < math.inf:
            raise OptionError(f"c must be 0 (the mean gradient) or more, got {c}")
        if rescale not in (0, 1, 2):
            raise OptionError(f"rescale must be 0 (none), 1 (by 1 + c^2) or 2 (by 1 + c), got {rescale!r}")
        self.c = c
        self.rescale = rescale

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), non-negative. Cost O(m^3) an active set, some ten of them."""
        count = len(gram)
        self.check_names(count, names)
        cosines, norms = split(gram)
        result = torch.full_like(norms, 1 / count)
        largest = norms.amax()
        if self.c > 0 and float(largest) > 0:
            lengths = norms / largest
            added = _nearest_on_ball(positive_definite(cosines), lengths, self.c) / lengths
            result += torch.where(norms > 0, added, 0.0)
        return result / (1.0, 1 + self.c**2, 1 + self.c)[self.rescale]


def _nearest_on_ball(matrix: Tensor, lengths: Tensor, c: float) -> Tensor:
    """Multipliers ``y >= 0`` of the unit rows ``[m]``: ``d = g_0 + sum_k y_k u_k``.

    The distance from ``g_0`` is a convex function of the level: the tangent at any level meets the radius at or above
    the level sought, which keeps the search inside a bracket where the active set changes.
    """
    mean = lengths / len(lengths)
    products = matrix @ mean  # <u_k, g_0>
    radius = c * float(mean @ products) ** 0.5
    present = lengths > 0
    ease = torch.where(present, lengths[present].amin() / lengths, 0.0)  # asked for: <u_k, d> >= level * ease
    asked, given = ease[present], products[present]
    # at low g_0 itself will do, above high no point of the ball
    low, high = float((given / asked).amin()), float(((given + radius) / asked).amin())
    capped = len(asked) < len(ease)  # a zero row improves by 0 whatever the direction
    # 0 first: at a Pareto-stationary point it is the best level, and those above it are ill-conditioned
    level = 0.0 if high > 0 and (low < 0 or capped) else high
    passive = None
    for _ in range(_ROUNDS):
        y = minimise(matrix, (products - level * ease)[None], passive)[0]
        distance = max(float(y @ matrix @ y), 0.0) ** 0.5
        if abs(distance - radius) <= _TOLERANCE * radius or (capped and level == 0 and distance < radius):
            break
        low, high = (low, level) if distance > radius else (level, high)
        slope = float(ease @ y) / distance if distance > 0 else 0.0
        if slope > 0:
            high = max(low, min(high, level - (distance - radius) / slope))
        passive = (y > 0)[None]
        if high - low <= _STANDSTILL * radius:
            level = low
            y = minimise(matrix, (products - level * ease)[None])[0]
            break
        after = min(_root(matrix, products, ease, passive[0], radius), high)
        if after < low or abs(after - level) <= _STANDSTILL * radius:  # the active set has no such level, or ends here
            after = high if high != level else (low + high) / 2
        level = after
    ridge = float(matrix[0, 0]) - 1
    if level > 0 and ridge * float(y @ y) > _MADE * radius**2:
        y = minimise(matrix, products[None])[0]
    return y


def _root(matrix: Tensor, products: Tensor, ease: Tensor, active: Tensor, radius: float) -> float:
    """The larger level where the multipliers of the active rows alone reach the radius, else minus infinity."""
    if not bool(active.any()):
        return -math.inf
    factor = torch.linalg.cholesky_ex(matrix[active][:, active]).L
    right = torch.stack([ease[active], products[active]], dim=1)
    # y = level * p - t, with |y| in the norm of the matrix: a quadratic in the level
    solved = right.T @ torch.cholesky_solve(right, factor)
    a, b, c = float(solved[0, 0]), float(solved[0, 1]), float(solved[1, 1]) - radius**2
    return (b + (b * b - a * c) ** 0.5) / a if a > 0 and b * b >= a * c else -math.inf
