"""The two computations RAS is made of: the spectrum above the noise, and the biased regularisation.

References:
    [RAS] Huang, Ying, Feng. Robust and adaptive spectral method for representation multi-task learning
        with contamination. arXiv 2509.06575, 2025.
    [TGF] Tian, Gu, Feng. Learning from similar linear representations: adaptivity, minimaxity, and
        robustness. JMLR 26(187), 2025; arXiv 2303.17765.
    [BT] Beck, Teboulle. A fast iterative shrinkage-thresholding algorithm. SIAM J. Imaging Sci. 2(1), 2009.
    [OC] O'Donoghue, Candès. Adaptive restart for accelerated gradient schemes. Found. Comput. Math., 2015.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import DataError, ModelError
from ._tasks import Array, LinearTasks, LogisticLoss, SquaredLoss


class Spectrum(NamedTuple):
    """Singular values of ``B / sqrt(T)`` [min(p, T)], threshold, and the directions above it [p, rank]."""

    values: Array
    threshold: float
    basis: Array

    @property
    def rank(self) -> int:
        """Directions kept."""
        return self.basis.shape[1]


def spectrum(b: Array, threshold: float, rank: int | None = None) -> Spectrum:
    """Directions shared by the rows of ``b`` [T, p] whose singular value exceeds ``threshold``.

    ``rank`` keeps that many instead (for a known dimension). Nothing is trimmed or clipped by task: the
    directions of outlying tasks are kept too. Cost T p min(T, p).
    """
    u, values, _ = np.linalg.svd(b.T / np.sqrt(len(b)), full_matrices=False)
    kept = int((values > threshold).sum()) if rank is None else min(rank, len(values))
    return Spectrum(values, threshold, u[:, :kept])


def shrink(w: Array, size: Array, keep: Array, centre: Array | float = 0.0, squared: bool = False) -> Array:
    """The proximal map of ``size |Q (w - centre)|_2`` with the projector ``Q = I - keep keep^T``.

    Block soft-thresholding of the part of ``w`` [T, p, m] outside the columns of ``keep`` [p, r]; ``size``
    broadcasts to [T, 1, m]. Exact: ``w - min(1, size / |Q v|) Q v`` with ``v = w - centre``; for
    ``size |Q v|^2`` (``squared``), ``w - 2 size / (1 + 2 size) Q v``.
    """
    v = w - centre
    outside = v - keep @ (keep.T @ v)
    if squared:
        return w - 2 * size / (1 + 2 * size) * outside
    norm = np.linalg.norm(outside, axis=1, keepdims=True)
    share = np.divide(size, norm, out=np.ones(np.broadcast_shapes(np.shape(size), norm.shape)), where=norm > 0)
    return w - np.minimum(share, 1.0) * outside


def biased_regularisation(
    loss: SquaredLoss | LogisticLoss,
    start: Array,
    strength: Array,
    keep: Array,
    centre: Array | float = 0.0,
    squared: bool = False,
    tolerance: float = 1e-7,
    most: int = 20_000,
) -> Array:
    """``argmin_b f_t(b) + strength_tj |Q (b - centre_t)|_2`` for all tasks t and strengths j, [T, p, m].

    The norm is not squared: where the bias is too wrong its pull stays below ``strength``, which is what
    makes the estimate adapt ([TGF], step 2 of Algorithm 1; the form with ``centre=0`` penalises what lies
    outside the subspace). ``start`` [T, p], ``strength`` [T, m], ``keep`` [p, r] the columns of
    ``I - Q``, ``centre`` broadcasting to [T, p, 1]. ``squared`` squares the norm: an ablation, in which the
    pull grows with the distance.

    Accelerated proximal gradient [BT] with restarts for every task and strength [OC], until the gradient
    mapping is below ``tolerance`` times the gradient at 0. Cost a step m T p^2 (squared loss) or m T n p.
    Raises :class:`ModelError` where ``most`` steps do not suffice.
    """
    lipschitz = loss.smoothness[:, None, None]
    x = np.repeat(start[..., None], strength.shape[1], axis=2)
    z, momentum = x, np.ones((len(x), 1, x.shape[2]))
    size = strength[:, None, :] / lipschitz
    goal = tolerance * np.linalg.norm(loss.gradient(np.zeros_like(x)), axis=1, keepdims=True)
    for _ in range(most):
        new = shrink(z - loss.gradient(z) / lipschitz, size, keep, centre, squared)
        if (lipschitz * np.linalg.norm(z - new, axis=1, keepdims=True) <= goal).all():
            return new
        against = ((z - new) * (new - x)).sum(axis=1, keepdims=True) > 0
        momentum = np.where(against, 1.0, momentum)
        following = 0.5 * (1 + np.sqrt(1 + 4 * momentum**2))
        z = new + np.where(against, 0.0, (momentum - 1) / following) * (new - x)
        x, momentum = new, following
    raise ModelError(
        f"the biased regularisation did not settle within {most} steps: columns of very different size or "
        "nearly the same direction; standardise them, or drop repeated ones"
    )


def noise_edge(tasks: LinearTasks, loss: SquaredLoss | LogisticLoss, alone: Array, p: int) -> float:
    """Largest singular value that noise alone gives ``B / sqrt(T)``, for single-task fits ``alone``.

    ``sigma (sqrt(p) + sqrt(T)) / sqrt(T)`` with sigma^2 the variance of one coefficient: for the squared
    loss the pooled residual variance over ``n - p - 1``, which is ``E (X^T X)^-1`` for Gaussian X; for the
    logistic loss the mean diagonal of the inverse Fisher information. ``p`` leading columns count, the
    others (an intercept) only cost degrees of freedom. Raises :class:`DataError` where ``n <= p + 1``.
    """
    rows, width = tasks.n, alone.shape[1]
    if (rows <= width + 1).any():
        t = int(rows.argmin())
        raise DataError(
            f"task {t} has {rows[t]:.0f} rows for {width} coefficients, too few to tell the noise: give a "
            "threshold, or leave the task out and use transfer for it"
        )
    if isinstance(loss, LogisticLoss):
        information = loss.hessian(alone) * rows[:, None, None]
        variance = float(np.linalg.inv(information)[:, range(p), range(p)].mean())
    else:
        residual = tasks.y - (tasks.x @ alone[..., None])[..., 0]
        pooled = (residual**2).sum() / (rows - width).sum()
        variance = float((pooled / (rows - width - 1)).mean())
    return float(np.sqrt(variance) * (np.sqrt(p) + np.sqrt(len(rows))) / np.sqrt(len(rows)))
