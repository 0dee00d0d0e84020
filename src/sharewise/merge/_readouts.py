"""Scalar read-outs of a layer that a change of its weights must leave as they are, and how it is made to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import MergeError

Solver = Literal["auto", "cholesky", "cg"]
DENSE = 4000
"""Up to so many read-outs of a block, ``auto`` solves by Cholesky's decomposition; conjugate gradients above."""


@dataclass(frozen=True)
class Readouts:
    """``left_k^T W right_k`` for ``k = 1 ... m``: each a number that a linear layer (weights ``W``, out x in) answers.

    Attributes:
        left: ``[blocks, m, rows]``.
        right: ``[blocks, m, columns]``. With more than one block the weights are cut into as many equal parts, either
            of rows (``blocks * rows == out``: heads of queries, keys, values) or of columns (``blocks * columns ==
            in``: heads of an output projection), and each read-out sees its part alone.
    """

    left: Tensor
    right: Tensor

    def __post_init__(self) -> None:
        left, right = tuple(self.left.shape), tuple(self.right.shape)
        if len(left) != 3 or len(right) != 3 or left[:2] != right[:2]:
            raise MergeError(
                f"read-outs have shapes {left} and {right}, expected [blocks, m, rows] and [blocks, m, columns]"
            )

    def parts(self, weights: Tensor) -> Tensor:
        """``weights`` ``[out, in]`` as ``[blocks, rows, columns]``; raises :class:`MergeError` if they do not fit."""
        blocks, _, rows = self.left.shape
        columns = self.right.shape[2]
        out, inputs = weights.shape
        if (blocks * rows, columns) == (out, inputs):
            return weights.unflatten(0, (blocks, rows))
        if (rows, blocks * columns) == (out, inputs):
            return weights.unflatten(1, (blocks, columns)).transpose(0, 1)
        raise MergeError(
            f"read-outs of {blocks} blocks of {rows} x {columns} do not fit weights of {out} x {inputs}: collect them "
            "from a model of the same architecture"
        )

    def joined(self, parts: Tensor, shape: torch.Size) -> Tensor:
        """What :meth:`parts` cut, whole again."""
        if parts.shape[0] * parts.shape[1] == shape[0]:
            return parts.reshape(shape)
        return parts.transpose(0, 1).reshape(shape)

    def of(self, weights: Tensor) -> Tensor:
        """The numbers themselves ``[blocks, m]``."""
        return _read(self.left, self.right, self.parts(weights.to(self.left.dtype)))


def keep_readouts(
    change: Tensor,
    readouts: Readouts,
    ridge: float = 1e-4,
    solver: Solver = "auto",
    iterations: int = 100,
    tol: float = 1e-5,
) -> Tensor:
    """The part of a change of weights ``[out, in]`` that leaves the read-outs (almost) as they are.

    With ``A`` the linear map from a change to its read-outs, ``change - A^T (A A^T + ridge I)^-1 A change``: the
    nearest change without effect on them for ``ridge = 0``. Every read-out is of rank one, so ``A A^T = (left left^T) *
    (right right^T)``, entry by entry: nothing of the size of the weights times ``m`` is formed (Wang et al., "M2A",
    arXiv 2605.09879, as in the authors' code).

    ``solver``: ``cholesky`` forms the ``m x m`` matrix in float64, ``O(m^2 (rows + columns) + m^3)`` a block; ``cg``
    needs memory of the read-outs alone, ``O(m rows columns)`` an iteration, at most ``iterations`` of them, to the
    relative residual ``tol``; ``auto`` takes the first up to 4,000 read-outs. Returns a tensor like ``change``; without
    read-outs, ``change`` itself.
    """
    if readouts.left.shape[1] == 0:
        return change
    left, right = readouts.left.double(), readouts.right.double()
    parts = readouts.parts(change.double())
    dense = solver == "cholesky" or (solver == "auto" and left.shape[1] <= DENSE)
    kept = torch.empty_like(parts)
    for b in range(len(parts)):  # one head at a time: the matrices of all heads together may not fit
        seen = _read(left[b], right[b], parts[b])
        found = (
            _dense(left[b], right[b], seen, ridge)
            if dense
            else _conjugate(left[b], right[b], seen, ridge, iterations, tol)
        )
        kept[b] = parts[b] - (left[b] * found[:, None]).T @ right[b]
    return readouts.joined(kept, change.shape).to(change.dtype)


def _read(left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    return ((left @ weights) * right).sum(-1)


def _dense(left: Tensor, right: Tensor, seen: Tensor, ridge: float) -> Tensor:
    system = (left @ left.T) * (right @ right.T)
    system.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:  # without a ridge, read-outs that repeat each other make it singular
        return torch.linalg.lstsq(system, seen[:, None], driver="gelsd").solution[:, 0]
    return torch.cholesky_solve(seen[:, None], factor)[:, 0]


def _conjugate(left: Tensor, right: Tensor, seen: Tensor, ridge: float, iterations: int, tol: float) -> Tensor:
    found = torch.zeros_like(seen)
    residual = seen.clone()
    direction = residual.clone()
    now = residual @ residual
    enough = tol**2 * now
    for _ in range(iterations):
        if now <= enough:
            break
        image = _read(left, right, (left * direction[:, None]).T @ right) + ridge * direction
        step = now / (direction @ image)
        found += step * direction
        residual -= step * image
        before, now = now, residual @ residual
        direction = residual + now / before * direction
    return found
