"""Isotropic merging: Iso-C and Iso-CTS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import LAMBDA, Parameter
from ._spectral import Spectral, orthogonal


class IsoC(Spectral):
    """The summed task vector with a flat spectrum: ``theta_0 + lambda mean(sigma) U V^T`` of ``sum_t tau_t = U S V^T``.

    Marczak et al., "No task left behind" (ICML 2025, arXiv 2502.04959, section 4.1). ``lambda`` 1 to 1.5.
    """

    name = "iso_c"
    title = "Iso-C"
    paper = "https://arxiv.org/abs/2502.04959"

    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """``mean(sigma) U V^T``."""
        left, sizes, right = torch.linalg.svd(matrices.sum(0), full_matrices=False)
        return sizes.mean() * (left @ right)


class IsoCTS(Spectral):
    """Iso-C with room for each task: the leading ``common`` share of the sum's directions, then, from what each task
    vector has outside of them, its leading directions; all orthogonalized, all of one size.

    Marczak et al. (arXiv 2502.04959, section 4.2, algorithm 1). ``lambda`` 1 to 1.5, to be tuned.
    """

    name = "iso_cts"
    title = "Iso-CTS"
    paper = "https://arxiv.org/abs/2502.04959"
    parameters = (LAMBDA, Parameter("common", "share of directions taken from the sum", 0.8, low=0.0, high=1.0))

    def merged(self, matrices: Tensor, values: Mapping[str, Any]) -> Tensor:
        """``mean(sigma) U V^T`` of common and specific directions."""
        rank, tasks = min(matrices.shape[1:]), len(matrices)
        each = (rank - round(values["common"] * rank)) // tasks
        shared = rank - each * tasks
        left, sizes, right = torch.linalg.svd(matrices.sum(0), full_matrices=False)
        lefts, all_sizes, rights = [left[:, :shared]], [sizes[:shared]], [right[:shared].T]
        for matrix in matrices if each else ():
            rest = matrix - left[:, :shared] @ (left[:, :shared].T @ matrix)
            own_left, own_sizes, own_right = torch.linalg.svd(rest, full_matrices=False)
            lefts.append(own_left[:, :each])
            all_sizes.append(own_sizes[:each])
            rights.append(own_right[:each].T)
        flat = torch.cat(all_sizes).mean()
        return flat * (orthogonal(torch.cat(lefts, 1)) @ orthogonal(torch.cat(rights, 1)).T)
