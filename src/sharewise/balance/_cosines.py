"""A Gram matrix split into what decides (angles) and what scales (norms)."""

from __future__ import annotations

import torch
from torch import Tensor


def split(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines ``[m, m]`` and row norms ``[m]`` of a Gram matrix ``[m, m]``, both in float64.

    ``gram = norms[:, None] * cosines * norms``: the cosines keep all digits, however far apart the norms are. A zero
    row has cosine 0 with every row.
    """
    norms = gram.diagonal().double().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    return gram.double() * inverse * inverse[:, None], norms
