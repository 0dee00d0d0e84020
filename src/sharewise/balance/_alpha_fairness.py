"""Alpha-fairness: one number for how good and how even utilities are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import OptionError


def alpha_fairness(utilities: Tensor, alpha: float) -> Tensor:
    """``F_a(u) = sum_i (u_i^(1 - a) - 1) / (1 - a)``, the scalar welfare of positive utilities ``[..., m]``.

    ``alpha = 0`` adds the utilities up (less m), 1 adds their logarithms (proportional fairness), and a larger one
    asks for more evenness; ``math.inf`` gives the smallest utility (max-min fairness). Concave in u.

    Source: Mo, Walrand, "Fair End-to-End Window-Based Congestion Control", IEEE/ACM Trans. Networking 8(5), 2000, less
    the constant that makes it continuous in alpha at 1. Raises :class:`OptionError` for a negative alpha or a utility
    that is not positive.
    """
    if not alpha >= 0:
        raise OptionError(f"alpha must be a number >= 0, got {alpha}")
    if not bool((utilities > 0).all()):
        raise OptionError("alpha-fairness is defined for positive utilities: shift or clip them above 0")
    if math.isinf(alpha):
        return utilities.amin(-1)
    logs = utilities.log()
    if alpha == 1:
        return logs.sum(-1)
    # expm1 keeps its digits where alpha is close to 1
    return (torch.expm1((1 - alpha) * logs) / (1 - alpha)).sum(-1)
