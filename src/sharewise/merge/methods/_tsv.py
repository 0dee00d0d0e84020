"""TSV-M: task singular vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ._spectral import Spectral, orthogonal


class TSV(Spectral):
    """The leading ``k = floor(r / T)`` singular vectors of each task vector, put side by side and made orthogonal:
    ``theta_0 + lambda U S V^T`` with ``U`` next to ``[U_1 ... U_T]`` and ``V`` next to ``[V_1 ... V_T]``.

    Gargiulo et al., "Task singular vectors" (CVPR 2025, arXiv 2412.00081, algorithm 1). Without orthogonalization
    interfering directions add up; it is what makes the method. Directions of size 0, which are arbitrary (a LoRA's task
    vector has many), take no part.
    """

    name = "tsv"
    title = "TSV-M"
    paper = "https://arxiv.org/abs/2412.00081"

    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """``U S V^T`` of the kept, orthogonalized parts."""
        keep = max(1, min(matrices.shape[1:]) // len(matrices))
        lefts, all_sizes, rights = [], [], []
        for matrix in matrices:
            left, sizes, right = (x[..., :keep] for x in _svd(matrix))
            there = (sizes > 1e-6 * sizes[0]).to(sizes.dtype)
            lefts.append(left * there)
            all_sizes.append(sizes)
            rights.append(right * there)
        left, right = orthogonal(torch.cat(lefts, 1)), orthogonal(torch.cat(rights, 1))
        return (left * torch.cat(all_sizes)) @ right.T


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left and right singular vectors as columns."""
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    return left, sizes, right.T
