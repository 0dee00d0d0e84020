"""Methods with one part taken out, to see what it does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...merge.methods._masks import unified
from ...merge.methods._spectral import is_matrix
from ._bed import Bed, State
from ._tuned import States

Matrices = Callable[[Tensor], Tensor]
"""Task vectors ``[T, out, in]`` -> one ``[out, in]``."""


def truncated_sum(matrices: Tensor) -> Tensor:
    """TSV-M without orthogonalization: the sum of task vectors, each cut to its leading ``r / T`` singular vectors."""
    keep = max(1, min(matrices.shape[1:]) // len(matrices))
    left, sizes, right = torch.linalg.svd(matrices, full_matrices=False)
    return torch.einsum("tok,tk,tki->oi", left[:, :, :keep], sizes[:, :keep], right[:, :keep])


def plain_sum(matrices: Tensor) -> Tensor:
    """Iso-C without flattening: the sum of task vectors with the spectrum it has."""
    return matrices.sum(0)


def spectral(bed: Bed, merge: Matrices) -> State:
    """``merge`` for matrices and the mean task vector for all else, as the methods on spectra do."""
    found = {}
    for name, base in bed.base.items():
        rows = torch.stack([state[name] for state in bed.experts.values()]) - base
        found[name] = base + (merge(rows) if is_matrix(name, tuple(base.shape)) else rows.mean(0))
    return found


def unrescaled_emr(bed: Bed) -> States:
    """EMR without the scale that restores each task vector's sum of absolute values."""
    states: dict[str, State] = {task: {} for task in bed.tasks}
    for name, base in bed.base.items():
        rows = torch.stack([state[name] for state in bed.experts.values()]) - base
        one = unified(rows)
        for task, row in zip(bed.tasks, rows, strict=True):
            states[task][name] = base + one * (row * one > 0)
    return dict(states)


def shuffled(bed: Bed, anchor: State, generator: torch.Generator) -> State:
    """An anchor with the entries of each tensor's task vector in another order: its sizes, but nothing else of it."""
    return {
        name: base + (anchor[name] - base).flatten()[torch.randperm(base.numel(), generator=generator)].view(base.shape)
        for name, base in bed.base.items()
    }
