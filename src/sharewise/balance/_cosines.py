"""A Gram matrix split into what decides (angles) and what scales (norms)."""

from __future__ import annotations

import torch
from torch import Tensor

# Added to the diagonal of the cosines, relative to unit rows, so that they have a Cholesky factor: the first that
# does. In float64 the first is enough; rounding of float32 products can ask for the third.
_RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4)


def split(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines ``[..., m, m]`` and row norms ``[..., m]`` of Gram matrices ``[..., m, m]``, both in float64.

    ``gram = norms[..., None] * cosines * norms[..., None, :]``: the cosines keep all digits, however far apart the
    norms are. A zero row has cosine 0 with every row.
    """
    norms = gram.diagonal(dim1=-2, dim2=-1).double().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    return gram.double() * inverse[..., None, :] * inverse[..., None], norms


def positive_definite(cosines: Tensor) -> Tensor:
    """``cosines`` with ones on the diagonal and the smallest ridge of 1e-12, 1e-10, ..., 1e-4 that makes them so.

    The ridge stands for adding to each unit row a part of length ``sqrt(ridge)`` that is orthogonal to all others:
    solutions exist and are unique where rows are dependent, and are those of the rows given to about the ridge.
    A zero row becomes a unit row orthogonal to all others.
    """
    for ridge in _RIDGES:
        result = cosines.clone()
        result.diagonal().fill_(1 + ridge)
        if int(torch.linalg.cholesky_ex(result).info) == 0:
            break
    return result
