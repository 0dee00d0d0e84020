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
    interfering directions add up; it is what makes the method.
    """

    name = "tsv"
    title = "TSV-M"
    paper = "https://arxiv.org/abs/2412.00081"

    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """``U S V^T`` of the kept, orthogonalized parts."""
        keep = max(1, min(matrices.shape[1:]) // len(matrices))
        parts = [torch.linalg.svd(m, full_matrices=False) for m in matrices]
        left = orthogonal(torch.cat([u[:, :keep] for u, _, _ in parts], 1))
        right = orthogonal(torch.cat([v[:keep].T for _, _, v in parts], 1))
        return (left * torch.cat([s[:keep] for _, s, _ in parts])) @ right.T
