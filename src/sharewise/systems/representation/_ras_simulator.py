"""Linear tasks that nearly share a representation, except for outliers of a chosen structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...errors import OptionError
from ._tasks import Array, LinearTasks, Loss, sigmoid

Outliers = Literal["random", "subspace", "uniform"]


@dataclass(frozen=True)
class Simulated:
    """``tasks``; the true ``coefficients`` [T, p]; which tasks are ``inlier`` [T]; the shared ``basis``."""

    tasks: LinearTasks
    coefficients: Array
    inlier: npt.NDArray[np.bool_]
    basis: Array


def simulate(
    seed: int,
    *,
    tasks: int = 100,
    n: int = 100,
    p: int = 40,
    r: int = 3,
    eps: float = 0.0,
    h: float = 0.0,
    outliers: Outliers = "random",
    size: float = 2.0,
    noise: float = 1.0,
    loss: Loss = "squared",
    basis: Array | None = None,
) -> Simulated:
    """``y = x^T b_t + noise`` with ``x ~ N(0, I)``; for the logistic loss, labels with ``P(y = 1)`` logistic.

    An inlier has ``b_t = A_t theta_t`` with theta_t uniform on the sphere of radius ``size`` and A_t at
    distance exactly h of the shared basis A: ``|A_t A_t^T - A A^T|_2 = h``, every principal angle having sine
    h, towards directions drawn anew for each task (the hardest case allowed; needs ``2 r <= p``). The
    rounded share ``eps`` of tasks are outliers:

    - ``"random"``: ``b_t`` in a direction of its own, uniform on the sphere of radius ``size``;
    - ``"subspace"``: ``b_t = A' theta_t`` with a second basis A' shared by all outliers;
    - ``"uniform"``: coefficients uniform in [-1, 1] (the outlier of Tian, Gu, Feng, JMLR 26(187), 2025).

    ``basis`` [p, r] gives A (of earlier tasks, to simulate targets of a transfer) instead of drawing it.
    Raises :class:`OptionError` where eps or h is not in [0, 1] or the sizes do not fit.
    """
    _check(eps, h, p, r, outliers)
    rng = np.random.default_rng(seed)
    drawn, second = _orthonormal(rng, 2, p, r)
    a = drawn if basis is None else basis
    theta = size * _directions(rng, tasks, r)
    b = np.einsum("tpr,tr->tp", _tilted(rng, a, tasks, h), theta)
    inlier = np.ones(tasks, dtype=bool)
    inlier[rng.permutation(tasks)[: round(eps * tasks)]] = False
    wild = {
        "random": size * _directions(rng, tasks, p),
        "subspace": theta @ second.T,
        "uniform": rng.uniform(-1, 1, (tasks, p)),
    }[outliers]
    b = np.where(inlier[:, None], b, wild)
    x = rng.standard_normal((tasks, n, p))
    score = np.einsum("tnp,tp->tn", x, b)
    if loss == "logistic":
        y = np.where(rng.random((tasks, n)) < sigmoid(score), 1.0, 0.0)
    else:
        y = score + noise * rng.standard_normal((tasks, n))
    return Simulated(LinearTasks(x, y, np.ones((tasks, n), dtype=bool)), b, inlier, a)


def _check(eps: float, h: float, p: int, r: int, outliers: str) -> None:
    if not (0 <= eps <= 1 and 0 <= h <= 1):
        raise OptionError(f"eps is {eps} and h is {h}, expected shares between 0 and 1")
    if 2 * r > p:
        raise OptionError(f"r is {r} and p is {p}, expected p >= 2 r so that bases can differ by h")
    if outliers not in ("random", "subspace", "uniform"):
        raise OptionError(f'outliers are {outliers!r}, expected "random", "subspace" or "uniform"')


def _directions(rng: np.random.Generator, count: int, size: int) -> Array:
    found = rng.standard_normal((count, size))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _orthonormal(rng: np.random.Generator, count: int, p: int, r: int) -> Array:
    return np.linalg.qr(rng.standard_normal((count, p, r)))[0]


def _tilted(rng: np.random.Generator, a: Array, tasks: int, h: float) -> Array:
    """One basis a task, [tasks, p, r], all principal angles to ``a`` of sine h."""
    other = rng.standard_normal((tasks, *a.shape))
    outside = np.linalg.qr(other - a @ (a.T @ other))[0]
    return np.sqrt(1 - h * h) * a + h * outside


def subspace_error(basis: Array, truth: Array) -> float:
    """``|(I - basis basis^T) truth|_2`` in [0, 1]: 0 if ``basis`` [p, k] holds all of ``truth`` [p, r]."""
    return float(np.linalg.norm(truth - basis @ (basis.T @ truth), 2))


def errors(estimate: Array, found: Simulated) -> Array:
    """``|b_t - estimate_t|_2`` of each task, [T]."""
    return np.asarray(np.linalg.norm(estimate - found.coefficients, axis=1))
