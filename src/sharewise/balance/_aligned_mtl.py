"""Aligned-MTL: orthogonal gradients of equal length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError, nearest
from ._balancer import GramBalancer
from ._cosines import split
from ._spectrum import spectrum

SCALES = ("min", "median", "rmse")


class AlignedMTL(GramBalancer):
    """Turns the gradients into orthogonal ones of equal length, the nearest there are, and sums these.

    With the singular value decomposition ``G = U S V^T`` of the rows the aligned rows are ``s U V^T = B G``, where
    ``B = s U S^-1 U^T``: their condition number is 1. The weights are the column sums of B.

    Source: Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023, algorithm 1; the
    scales are those of the authors' code, where singular values below rounding are dropped as here.

    The method does *not* promise a direction that lowers every loss. Its inner products with the rows are those of
    ``U S U^T 1``; for two gradients at angle ``a`` with ``cos a + sin a < 0`` (more than 135 degrees) the smaller one
    is opposed as soon as the norms are ``-1 / (cos a + sin a)`` apart, in exact arithmetic.

    What differs: the decomposition is taken of ``G``'s small side, not of its Gram matrix, whose small eigenvalues
    drown in rounding (norms 1:1e6 are eigenvalues 1:1e12); and the rank is judged on unit rows, so that a task with
    small gradients is never dropped for its size.

    Args:
        scale_mode: the common length ``s``: the smallest singular value (``"min"``, the paper's), the (lower) median
            one, or the root mean square of all (``"rmse"``).
        tasks: see :class:`Balancer`.

    Raises :class:`OptionError` for an unknown ``scale_mode``.
    """

    def __init__(self, *, scale_mode: str = "min", tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if scale_mode not in SCALES:
            raise OptionError(f'scale_mode "{scale_mode}" is not known; {nearest(str(scale_mode), SCALES)}')
        self.scale_mode = scale_mode

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), some of which may be negative; a zero row has weight 0. Cost O(m^3), twice."""
        self.check_names(len(gram), names)
        return balance_matrix(gram, self.scale_mode).sum(0)


def balance_matrix(gram: Tensor, scale_mode: str) -> Tensor:
    """``B`` ``[m, m]``, symmetric, which times the rows gives orthogonal rows of equal length (as many as the rank)."""
    cosines, norms = split(gram)
    if not bool(cosines.isfinite().all()):
        return torch.full_like(cosines, torch.nan)
    values, vectors = spectrum(cosines)
    # The rows themselves in coordinates of their span: [m, r], with the same Gram matrix.
    rows = norms[:, None] * vectors * values.sqrt()
    left, singular, _ = torch.linalg.svd(rows, full_matrices=False)
    real = singular > torch.finfo(singular.dtype).eps * len(gram) * singular[:1]
    left, singular = left[:, real] * (norms > 0)[:, None], singular[real]
    if not len(singular):
        return torch.zeros_like(cosines)
    if scale_mode == "rmse":
        scale = singular.square().mean().sqrt()
    else:
        scale = singular[-1] if scale_mode == "min" else singular.median()
    return left * (scale / singular) @ left.T
