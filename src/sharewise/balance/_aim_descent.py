"""How AIM's thresholds move: one step of Adam a guidance batch, at a rate that is annealed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError
from ._adam import adam_step
from ._aim_policy import policy_loss
from ._guidance import Guidance


@dataclass(frozen=True)
class Descent:
    """The options of :class:`AIM` that are about learning; raises :class:`OptionError` for those out of range.

    ``weights`` are ``l_g``, ``l_m`` and ``l_p``.
    """

    sharpness: float
    lr: float
    restart: int | None
    weights: tuple[float, float, float]
    look_ahead: float
    relative: bool

    def __post_init__(self) -> None:
        numbers = (self.lr, *self.weights, self.look_ahead)
        if not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise OptionError(f"lr, the three weights and look_ahead must be finite and not negative, got {numbers}")
        if not (math.isfinite(self.sharpness) and self.sharpness > 0):
            raise OptionError(f"sharpness must be positive and finite, got {self.sharpness}")
        if self.restart is not None and self.restart < 1:
            raise OptionError(f"restart is {self.restart}, expected a number of epochs, or None for a constant rate")

    def step(self, state: Tensor, found: Guidance, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Thresholds with Adam's moments, ``[m, m, 4]`` or one for all pairs ``[4]`` -> the new ones, and the loss of
        the policy before the step with its parts. Cost O(m^2)."""
        with torch.enable_grad():
            tau = state[..., 0].clone().requires_grad_()
            parts = policy_loss(
                tau.expand_as(found.gram),
                found,
                sharpness=self.sharpness,
                look_ahead=self.look_ahead,
                relative=self.relative,
                weights=self.weights,
            )
            (gradient,) = torch.autograd.grad(parts["total"], tau)
        moved = adam_step(gradient, state, annealed(self.lr, epoch, self.restart))
        return moved, {name: part.detach() for name, part in parts.items()}


def annealed(lr: float, epoch: int, restart: int | None) -> float:
    """The learning rate of an epoch: a cosine from ``lr`` down to 1e-6, anew every ``restart`` epochs."""
    if restart is None or lr <= 1e-6:
        return lr
    return 1e-6 + (lr - 1e-6) * (1 + math.cos(math.pi * (epoch % restart) / restart)) / 2
