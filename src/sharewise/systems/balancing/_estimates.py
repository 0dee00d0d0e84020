"""Gradients of a known angle, seen through noise: how well K batches show how severe a conflict is."""

from __future__ import annotations

import torch
from torch import Tensor

ZONES = ("critical", "moderate", "mild", "none")


def true_gradients(cosine: float, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Two unit rows ``[2, n]`` with this cosine."""
    rows = torch.zeros(2, n, dtype=dtype)
    rows[0, 0] = 1.0
    rows[1, 0], rows[1, 1] = cosine, (1 - cosine**2) ** 0.5
    return rows


def estimates(gradients: Tensor, batches: int, noise: float, count: int, generator: torch.Generator) -> Tensor:
    """``count`` independent means of ``batches`` noisy gradients: ``[count, m, n]``.

    The noise of one batch is Gaussian, ``noise`` times as long as the gradient it is added to; it is independent
    between gradients, as in the stochastic mode.
    """
    m, n = gradients.shape
    sigma = noise * gradients.norm(dim=1, keepdim=True) / (n * batches) ** 0.5
    return gradients + sigma * torch.randn(count, m, n, generator=generator, dtype=gradients.dtype)


def zone(cosine: float, thresholds: tuple[float, float, float] = (-0.8, -0.5, 0.0)) -> str:
    """The kind of conflict: one of :data:`ZONES`."""
    critical, main, weak = thresholds
    return ZONES[0] if cosine <= critical else ZONES[1] if cosine < main else ZONES[2] if cosine < weak else ZONES[3]


def zone_rate(
    cosine: float, batches: int, *, n: int = 1000, noise: float = 5.0, count: int = 200, seed: int = 0
) -> float:
    """The share of estimates whose cosine falls into the zone of the true one.

    Independent noise makes estimates longer, not their inner product larger, so cosines shrink: by ``1 + noise^2 /
    batches`` on average. Too few batches make every conflict look mild.
    """
    rows = estimates(true_gradients(cosine, n), batches, noise, count, torch.Generator().manual_seed(seed))
    seen = torch.nn.functional.cosine_similarity(rows[:, 0], rows[:, 1], dim=1)
    return sum(zone(c) == zone(cosine) for c in seen.tolist()) / count
