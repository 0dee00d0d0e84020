"""The polar factor of a matrix: its singular directions, all of length one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import OptionError, nearest

PolarMethod = Literal["quintic", "cubic", "svd"]
_COEFFICIENTS = {"quintic": (3.4445, -4.7750, 2.0315), "cubic": (1.5, -0.5, 0.0)}
STEPS = {"quintic": 5, "cubic": 15, "svd": 0}


def polar(
    matrix: Tensor, *, method: PolarMethod = "quintic", steps: int | None = None, cutoff: float | None = None
) -> Tensor:
    """``U V^T`` of ``matrix = U S V^T`` ``[m, n]``, in its dtype; zeros for zeros.

    Args:
        method: ``svd`` is exact, singular directions with value 0 left out. ``quintic`` and ``cubic`` iterate
            ``X <- a X + b X X^T X + c (X X^T)^2 X`` from ``X / |X|`` (Newton-Schulz): 5 steps of the quintic bring
            singular values within a hundredth of the largest to between 0.68 and 1.13; the cubic converges to 1.
            Directions further below the largest are raised in part only.
        steps: of the iteration; 5 and 15 by default.
        cutoff: singular values below this part of the largest are left out (``svd`` only): gradients of a batch that
            is smaller than the layer have directions that are rounding errors.

    Computed in float32 or wider. Cost: ``3 steps`` products of the smaller side, or one SVD. Source of the quintic's
    coefficients: Jordan et al., "Muon", 2024. Raises :class:`OptionError` for another method, or a cut-off without SVD.
    """
    if method not in STEPS:
        raise OptionError(f'polar factor by "{method}" is not known; {nearest(str(method), STEPS)}')
    if cutoff is not None and (method != "svd" or not 0 <= cutoff < 1):
        raise OptionError(f'a cut-off needs method="svd" and a number in [0, 1), got {cutoff} with "{method}"')
    if matrix.dim() != 2:
        raise OptionError(f"a polar factor is of a matrix, got shape {list(matrix.shape)}")
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    size = torch.linalg.vector_norm(wide)
    if method == "svd":
        u, s, v = torch.linalg.svd(wide, full_matrices=False)
        least = torch.finfo(wide.dtype).eps * max(wide.shape) if cutoff is None else cutoff
        return ((u * (s > least * s[:1])) @ v).to(matrix)
    x = wide / torch.where(size > 0, size, 1.0)
    x = x.T if x.shape[0] > x.shape[1] else x
    a, b, c = _COEFFICIENTS[method]
    for _ in range(STEPS[method] if steps is None else steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square if c else b * square) @ x
    return (x.T if wide.shape[0] > wide.shape[1] else x).to(matrix)
