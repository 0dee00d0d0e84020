"""Quadratic programs over non-negative vectors, many with one matrix solved together: exact, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

_EXCHANGES = 12  # of the active set; as a rule 2 to 6 are enough
_ROUNDING = 1e-13  # an entry counts as negative below minus this, relative to the largest of its vector
_STEPS = 60  # of the interior point method; as a rule 15 to 25


def minimise(matrix: Tensor, linear: Tensor, passive: Tensor | None = None) -> Tensor:
    """``argmin_{x >= 0} x^T matrix x / 2 + linear^T x`` for each row of ``linear``.

    The optimum is where ``s = matrix x + linear`` and ``x`` are both non-negative with ``x_i s_i = 0``. First entries
    of wrong sign in ``x`` or ``s`` are exchanged between the two sets all at once (block principal pivoting:
    Júdice and Pires, 1994), for all programs together; each round costs one batched Cholesky factorisation. What has
    not settled after 12 rounds, as can happen where rows are linearly dependent, goes to an interior point method.

    Residual: ``x >= 0``; ``s >= -1e-12`` and ``x_i s_i <= 1e-12`` relative to the largest entries of their vectors.

    Args:
        matrix: ``[m, m]`` float64, positive definite, with a diagonal of about 1.
        linear: ``[k, m]`` float64.
        passive: where x may be positive, bool ``[k, m]``: a guess, which saves rounds and changes nothing else.

    Returns ``[k, m]``. Cost O(k m^3) a round, O(k m^2) memory.
    """
    if len(linear) == 1 and passive is None and linear.device.type == "cpu":
        found = _one(matrix, linear[0])
        return _interior(matrix, linear) if found is None else found[None]
    result = torch.empty_like(linear)
    rest = torch.arange(len(linear), device=linear.device)
    passive = linear < 0 if passive is None else passive
    for _ in range(_EXCHANGES):
        x = _solve(matrix, linear, passive)
        s = torch.addmm(linear, x, matrix)
        wrong = torch.where(passive, _negative(x), _negative(s))
        settled = ~wrong.any(1)
        result[rest[settled]] = x[settled].clamp_min_(0.0)
        if bool(settled.all()):
            return result
        rest, linear, passive = rest[~settled], linear[~settled], (passive ^ wrong)[~settled]
    result[rest] = _interior(matrix, linear)
    return result


def _one(matrix: Tensor, linear: Tensor) -> Tensor | None:
    """The same exchanges for one program; signs are looked at as numbers, since calls cost more than what they do."""
    inside = (linear < 0).tolist()
    for _ in range(_EXCHANGES):
        x = torch.zeros_like(linear)
        if any(inside):
            index = torch.tensor([i for i, free in enumerate(inside) if free], dtype=torch.long)
            factor = torch.linalg.cholesky_ex(matrix.index_select(0, index).index_select(1, index)).L
            opposite = torch.cholesky_solve(linear.index_select(0, index).unsqueeze(1), factor)
            x.index_add_(0, index, opposite.squeeze(1), alpha=-1)
        values, slacks = x.tolist(), torch.addmv(linear, matrix, x).tolist()
        limits = [-_ROUNDING * max(max(side), -min(side)) for side in (slacks, values)]
        signs = zip(slacks, values, inside, strict=True)
        wrong = [(value if free else slack) < limits[free] for slack, value, free in signs]
        if not any(wrong):
            return x.clamp_min_(0.0)
        inside = [free != change for free, change in zip(inside, wrong, strict=True)]
    return None


def _negative(values: Tensor) -> Tensor:
    """Which entries are below zero by more than rounding, row by row."""
    return values < -_ROUNDING * values.abs().amax(1, keepdim=True)


def _solve(matrix: Tensor, linear: Tensor, passive: Tensor) -> Tensor:
    """``x`` with ``(matrix x + linear)_i = 0`` where passive and 0 elsewhere, ``[k, m]``."""
    size = int(passive.sum(1).max())
    if size == 0:
        return torch.zeros_like(linear)
    if size == len(matrix):
        index = torch.arange(size, device=linear.device).expand(len(linear), size)
    else:  # only the passive rows and columns, padded to the largest set
        index = passive.byte().argsort(dim=1, descending=True, stable=True)[:, :size]
    inside = passive.gather(1, index)
    blocks = matrix[index[:, :, None], index[:, None]]
    blocks *= inside[:, :, None] & inside[:, None]
    blocks.diagonal(dim1=1, dim2=2).add_(~inside)
    right = (linear.gather(1, index) * inside).neg_()
    x = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky_ex(blocks).L)[:, :, 0]
    return torch.zeros_like(linear).scatter_(1, index, x)


def _interior(matrix: Tensor, linear: Tensor) -> Tensor:
    """The same minimum by Mehrotra's predictor and corrector (primal-dual, both kept positive)."""
    x = torch.ones_like(linear)
    s = torch.ones_like(linear)
    for _ in range(_STEPS):
        gap = torch.addmm(linear, x, matrix) - s
        mean = (x * s).mean(1, keepdim=True)
        hessian = matrix.expand(len(x), -1, -1).clone()
        hessian.diagonal(dim1=1, dim2=2).add_(s / x)
        factor = torch.linalg.cholesky_ex(hessian).L
        dx, ds = _direction(factor, x, s, gap, -x * s)
        length = _length(x, dx, s, ds)
        centre = ((x + length * dx) * (s + length * ds)).mean(1, keepdim=True) / mean
        dx, ds = _direction(factor, x, s, gap, centre**3 * mean - x * s - dx * ds)
        length = 0.995 * _length(x, dx, s, ds)
        x, s = x + length * dx, s + length * ds
        if bool((x * s).amax() < 1e-22):
            break
    return x


def _direction(factor: Tensor, x: Tensor, s: Tensor, gap: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's step to ``s = matrix x + linear`` and to ``x s`` changed by ``product``."""
    dx = torch.cholesky_solve((product / x - gap)[:, :, None], factor)[:, :, 0]
    return dx, (product - s * dx) / x


def _length(x: Tensor, dx: Tensor, s: Tensor, ds: Tensor) -> Tensor:
    """The longest step up to 1 that keeps both non-negative, ``[k, 1]``."""
    most = torch.maximum((-dx / x).amax(1, keepdim=True), (-ds / s).amax(1, keepdim=True))
    return 1 / most.clamp_min(1.0)
