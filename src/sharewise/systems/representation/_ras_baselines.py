"""What RAS is compared with: pooling, a known dimension, and the two methods of its predecessor.

References:
    [TGF] Tian, Gu, Feng. Learning from similar linear representations: adaptivity, minimaxity, and
        robustness. JMLR 26(187), 2025; arXiv 2303.17765.
All take squared losses. Each returns coefficients [T, p].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._prox import Spectrum, biased_regularisation, spectrum
from ._tasks import Array, LinearTasks, SquaredLoss

if TYPE_CHECKING:
    from torch import Tensor


def single_task(tasks: LinearTasks) -> Array:
    """Least squares for every task alone (``n > p``)."""
    return SquaredLoss(tasks).minimise()


def pooled(tasks: LinearTasks) -> Array:
    """One least-squares fit to the rows of all tasks, repeated for each."""
    t, n, p = tasks.x.shape
    together = LinearTasks(tasks.x.reshape(1, t * n, p), tasks.y.reshape(1, -1), tasks.used.reshape(1, -1))
    return np.repeat(single_task(together), t, axis=0)


def known_rank_projection(tasks: LinearTasks, r: int) -> Array:
    """Top-r directions of the single-task fits, r known, and every task fitted within them (a hard bias)."""
    loss = SquaredLoss(tasks)
    basis = spectrum(single_task(tasks), 0.0, r).basis
    return loss.minimise(basis)


def winsorised_spectral(
    tasks: LinearTasks,
    r_bar: int,
    gamma: float = 0.5,
    t1: float = 1.0,
    t2: float = 0.05,
    radius: float = 5.0,
) -> tuple[Array, Spectrum]:
    """The spectral method of [TGF] with an unknown dimension (its rank estimate and Algorithm 1, step 2).

    Single-task fits longer than ``radius`` are shortened to it, directions with singular values above
    ``t1 sqrt((p + log T) / n) + t2 radius r_bar^(-3/4)`` are kept, and every task is then biased towards its
    fit within them, with strength ``gamma sqrt(p + log T) / sqrt(n)``. The constants are those of the
    authors' simulations; ``r_bar`` bounds the dimension. Returns the coefficients and the spectrum too.
    """
    loss, alone = SquaredLoss(tasks), single_task(tasks)
    size, p = np.log(len(alone)) + alone.shape[1], alone.shape[1]
    norm = np.linalg.norm(alone, axis=1, keepdims=True)
    clipped = alone * np.minimum(1.0, radius / norm)
    edge = t1 * float(np.sqrt(size / tasks.n.min())) + t2 * radius * r_bar**-0.75
    found = spectrum(clipped, edge)
    within = loss.minimise(found.basis)
    strength = gamma * np.sqrt(size / tasks.n)[:, None]
    biased = biased_regularisation(loss, alone, strength, np.zeros((p, 0)), within[..., None])
    return biased[..., 0], found


def penalised_erm(
    tasks: LinearTasks,
    r: int,
    strength: float | None = None,
    gamma: float = 0.5,
    steps: int = 300,
    rate: float = 0.05,
) -> Array:
    """Penalised empirical risk minimisation with r known ([TGF], Algorithm 1).

    Step 1 minimises ``mean_t f_t(A_t theta_t) + strength / sqrt(n) |A_t A_t^T - A A^T|_2`` over orthonormal
    A_t, A and any theta_t, with ``strength = sqrt(r (p + log T))`` unless given; step 2 is that of
    :func:`winsorised_spectral` around ``A_t theta_t``. The problem is not convex: from the directions of
    :func:`known_rank_projection`, ``steps`` of Adam with a rate falling to 0, theta_t solved exactly, bases
    orthonormalised by QR, the norm (the sine of the largest angle) smoothed by 1e-3, and the best point
    kept. How the authors optimise is not known here. Cost a step T p^2 r.
    """
    import torch

    loss, alone = SquaredLoss(tasks), single_task(tasks)
    count, p = alone.shape
    size = p + np.log(count)
    pull = torch.from_numpy((strength or np.sqrt(r * size)) / np.sqrt(tasks.n))
    gram, moment = torch.from_numpy(loss.gram), torch.from_numpy(loss.moment)
    start = torch.from_numpy(spectrum(alone, 0.0, r).basis.copy())
    raw = torch.cat([start[None], start.repeat(count, 1, 1)]).requires_grad_()
    adam = torch.optim.Adam([raw], lr=rate)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
    best, kept = np.inf, raw.detach().clone()
    for _ in range(steps):
        adam.zero_grad()
        value = _erm_objective(raw, gram, moment, pull)
        if value.item() < best:
            best, kept = value.item(), raw.detach().clone()
        value.backward()
        adam.step()
        decay.step()
    own = torch.linalg.qr(kept[1:])[0]
    theta = torch.linalg.solve(own.mT @ gram @ own, own.mT @ moment)
    centre = (own @ theta).numpy()
    bias = gamma * np.sqrt(size / tasks.n)[:, None]
    return biased_regularisation(loss, alone, bias, np.zeros((p, 0)), centre)[..., 0]


def _erm_objective(raw: Tensor, gram: Tensor, moment: Tensor, pull: Tensor) -> Tensor:
    """Step 1's objective up to a constant, theta_t minimised out; ``raw`` [1 + T, p, r] before QR."""
    import torch

    bases = torch.linalg.qr(raw)[0]
    common, own = bases[0], bases[1:]
    projected = own.mT @ moment
    fit = 0.5 * (projected * torch.linalg.solve(own.mT @ gram @ own, projected)).sum(dim=(1, 2))
    angles = own.mT @ common
    cosine = torch.linalg.eigvalsh(angles @ angles.mT)[:, 0]
    distance = torch.sqrt((1 - cosine).clamp_min(0) + 1e-6)
    return (pull * distance - fit).mean()
