"""AIM's arithmetic on the Gram matrix: soft projections and the policy's loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ._cosines import split
from ._guidance import Guidance


def projection_weights(cosines: Tensor, tau: Tensor, sharpness: float) -> Tensor:
    """``w_ij = sigmoid(k (tau_ij - cos_ij))`` ``[m, m]`` with a zero diagonal (equation 1)."""
    off = 1 - torch.eye(len(cosines), dtype=cosines.dtype, device=cosines.device)
    return torch.sigmoid(sharpness * (tau - cosines)) * off


def combination(cosines: Tensor, norms: Tensor, weights: Tensor) -> Tensor:
    """``a`` ``[m]`` with ``g_int = sum_j a_j g_j`` (equations 2 and 3).

    Row i loses ``w_ij <g_i, g_j> / |g_j|^2`` times row j, so ``a_j = 1 - sum_i w_ij cos_ij |g_i| / |g_j|``; a zero
    row neither loses nor takes, and keeps 1.
    """
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    return 1 - (weights * cosines * norms[:, None]).sum(0) * inverse


def policy_loss(
    tau: Tensor,
    found: Guidance,
    *,
    sharpness: float,
    look_ahead: float,
    relative: bool,
    weights: tuple[float, float, float],
) -> dict[str, Tensor]:
    """``total`` (equation 4) and its parts, as functions of ``tau`` ``[m, m]``; all but ``tau`` is constant.

    - ``guide``: the summed guidance losses after a step of size ``look_ahead`` along ``g_int``, to first order;
    - ``magnitude``: ``(|g_int| - sum_i |g_i|)^2`` (equation 5), or its relative form ``(|g_int| / sum - 1)^2``;
    - ``progress``: ``-sum_i alpha_i <g_int, g_i>``, ``alpha_i = L_i / sum_j L_j`` (equation 6).

    ``weights`` are those of the three in this order. Cost O(m^2), whatever the number of parameters.
    """
    cosines, norms = split(found.gram)
    a = combination(cosines, norms, projection_weights(cosines, tau, sharpness))
    products = found.gram @ a  # <g_int, g_i>
    squared = a @ products
    # The square root has no slope at 0; where the update vanishes, its length asks for nothing.
    length = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
    most = norms.sum()
    magnitude = (length / most - 1).square() if relative else (length - most).square()
    alpha = found.losses / found.losses.sum()
    if found.stepped is not found.gram:
        cosines, norms = split(found.stepped)
        a = combination(cosines, norms, projection_weights(cosines, tau, sharpness))
    parts = {
        "guide": found.losses.sum() - look_ahead * (found.pull @ a),
        "magnitude": magnitude,
        "progress": -(alpha @ products),
    }
    total = sum(w * part for w, part in zip(weights, parts.values(), strict=True))
    return {"total": torch.as_tensor(total), **parts}
