"""The part of a cosine matrix that is more than rounding."""

from __future__ import annotations

import torch
from torch import Tensor

# Eigenvalues of the cosines up to m times this are taken for rounding: gradients and sums of their products are
# seldom more exact than float32. Two tasks alone count as one direction below an angle of 0.03 degrees.
_ROUNDING = torch.finfo(torch.float32).eps

# Directions in which the rows agree less than this share of full agreement do not count: rounding would choose.
_AGREEMENT = 1e-12


def spectrum(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[r]`` above rounding and their eigenvectors ``[m, r]``; r is the rank of the rows.

    The rank is judged on unit rows, so that a task with small gradients counts as much as one with large ones.
    """
    values, vectors = torch.linalg.eigh(cosines)
    real = values > len(cosines) * _ROUNDING
    return values[real], vectors[:, real]


def equal_products(cosines: Tensor) -> Tensor:
    """Coefficients ``x`` ``[m]`` whose sum of unit rows has inner product 1 with every unit row: ``cosines @ x = 1``.

    Of dependent rows the least-squares solution of least norm, by the pseudo-inverse; zero where no direction agrees
    with the rows at all (opposite rows, zero rows). Entries that are not finite give NaN. Cost O(m^3), once.
    """
    if not bool(cosines.isfinite().all()):
        return torch.full_like(cosines[0], torch.nan)
    values, vectors = spectrum(cosines)
    reached = vectors.sum(0)  # the vector of ones, in the eigenvectors
    if float(reached.square().sum()) <= _AGREEMENT * len(cosines):
        return torch.zeros_like(cosines[0])
    return vectors @ (reached / values)
