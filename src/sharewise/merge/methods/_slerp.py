"""Spherical linear interpolation of two models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._method import Parameter
from ._gram import GramMethod

STRAIGHT = 0.9995
"""Above this |cosine| the arc is a straight line for float32, and the formula divides by nearly 0."""


def arc(cosine: Tensor, t: float | Tensor, straight: float = STRAIGHT) -> tuple[Tensor, Tensor]:
    """The two weights ``sin((1 - t) omega) / sin omega`` and ``sin(t omega) / sin omega``; linear where straight."""
    linear = cosine.abs() > straight
    omega = torch.arccos(torch.where(linear, torch.zeros_like(cosine), cosine).clamp(-1, 1))
    a = torch.where(linear, 1 - torch.as_tensor(t), torch.sin((1 - t) * omega) / torch.sin(omega))
    b = torch.where(linear, torch.as_tensor(t), torch.sin(t * omega) / torch.sin(omega))
    return a, b


class Slerp(GramMethod):
    """``[sin((1 - t) Omega) a + sin(t Omega) b] / sin Omega``, ``Omega`` the angle between the whole tensors a and b.

    Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985), applied to each tensor; ``t`` = 0 gives the
    base model (or, without one, the first). Linear where ``|cos Omega| > 0.9995``. Two passes.
    """

    name = "slerp"
    title = "SLERP"
    paper = "https://en.wikipedia.org/wiki/Slerp"
    base = "first"
    least = most = 2
    parameters = (Parameter("t", "0: the base model, 1: the other", required=True),)

    def coefficients(self, gram: Tensor, values: Mapping[str, Any]) -> Tensor:
        """Weights of the base and of the other model."""
        norms = gram.diagonal().sqrt()
        cosine = gram[0, 1] / (torch.where(norms > 1e-8, norms, 1.0).prod())
        return torch.stack(arc(cosine.clamp(-1, 1), values["t"]))
