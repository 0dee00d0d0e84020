"""What horizon fairness is measured against: fairness in each step, and the worst-off user alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...balance import LossBalancer


class SlotFair(LossBalancer):
    """Fair in each step by itself: weights proportional to ``u_i^-alpha`` of the utilities just observed.

    The gradient of ``F_a(u_t)``, scaled so that the weights ``[m]`` add up to m. No state. Utilities as those of
    :class:`~sharewise.balance.OWOFMTL`.
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        ceiling: float = 6.0,
        u_min: float = 0.5,
        u_max: float = 6.0,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        self.alpha, self.ceiling, self.u_min, self.u_max = alpha, ceiling, u_min, u_max

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` of losses ``[m]``."""
        self.check_names(len(losses), names)
        utilities = (self.ceiling - losses.detach().double()).clamp(self.u_min, self.u_max)
        return (len(losses) * torch.softmax(-self.alpha * utilities.log(), 0)).to(losses)


class WorstUser(LossBalancer):
    """All weight, m, on the largest of the m losses: a subgradient step on the max-min of the step."""

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` of losses ``[m]``."""
        self.check_names(len(losses), names)
        weights = torch.zeros_like(losses)
        weights[losses.detach().argmax()] = len(losses)
        return weights
