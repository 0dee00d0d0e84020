"""The probability simplex: weights that are not negative and sum to one."""

from __future__ import annotations

import torch
from torch import Tensor


def project(v: Tensor) -> Tensor:
    """The nearest point of the simplex to each vector ``[..., m]``, in the Euclidean norm.

    It is ``max(v - t, 0)`` with the one threshold t that makes it sum to 1. Over the k largest entries alone the
    threshold would be ``(their sum - 1) / k``; these grow as long as the next entry is above them, so the largest is
    t (Held, Wolfe, Crowder, "Validation of subgradient optimization", 1974). Adding a number to all entries changes
    nothing, so the largest is brought to 0 first: entries of any size then lose no digits of the sum.

    Exact up to rounding, for vectors of any finite size. Cost O(m log m), seven calls.
    """
    shifted = v - v.amax(-1, keepdim=True)
    sums = shifted.sort(-1, descending=True).values.cumsum(-1)
    counts = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    return (shifted - ((sums - 1) / counts).amax(-1, keepdim=True)).clamp_min_(0)
