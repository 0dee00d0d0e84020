"""OWO-FMTL: prices that make utilities fair over the whole horizon, not in each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import LossBalancer

STEPS = ("multiplicative", "additive")
_LARGEST_ALPHA = 64.0  # prices span u_max^-64 to u_min^-64: within float64 for utilities between 1e-4 and 1e4


class OWOFMTL(LossBalancer):
    """Weights tasks by dual prices that remember how each has fared: who has lagged for long becomes dearer.

    With utilities ``u_i = clip(C - L_i, u_min, u_max)``, the aim is the alpha-fairness of their averages over the
    horizon, ``F_a(mean_t u_t)``, and not the average of ``F_a(u_t)``. By Fenchel duality
    ``F_a(u) = min_w g(w) + w . u`` with prices ``w_i = u_i^-a`` at the minimum, so a step weighs the losses by the
    prices (``m w_i / sum w``: the weights add up to m, as equal weights do) and then descends in the prices with what
    it observed, within ``[u_max^-a, u_min^-a]``:

    - ``multiplicative``: ``w_i <- w_i exp(-rate clip(u_i / v_i - 1, -1, 1))`` where ``v_i = w_i^(-1/a)``;
    - ``additive``: ``w_i <- w_i - s (u_i - v_i)`` with ``s = rate u_max^-a / (u_max - u_min)``.

    Either way no price moves by more than about ``rate`` of itself in a step, whatever alpha is. At rest ``v_i = u_i``.
    ``v`` forgets over ``a / rate`` steps: an average over a horizon of H steps wants a rate near ``a / H`` or above.

    Source: our reading of the inner loop of "Equitable Multi-Task Learning for AI-RANs" (Raptis, Aslan, Iosifidis,
    arXiv 2603.08717, 2026), of which only the abstract could be read, from the horizon-fair online learning it builds
    on (Si Salem, Iosifidis, Neglia, arXiv 2208.05898, 2022). Ours: the multiplicative step, the scale of the additive
    one, and the price of a task that joins. The outer loop is :class:`~sharewise.balance.OuterUpdate`. Not the method
    of the name EMTL by Yuan and Zhang (2023).

    Args:
        alpha: 0 for equal weights, 1 for proportional fairness, more for more evenness; a large one (16) comes close to
            the max-min. At most 64.
        ceiling: C, the utility of a loss of 0. Losses above ``ceiling - u_min`` count as that bad and no worse.
        u_min: smallest utility, above 0.
        u_max: largest utility, above ``u_min``; the ceiling if not given.
        rate: largest relative move of a price in a step, in (0, 1).
        step: ``multiplicative`` or ``additive`` (the plain gradient step; slow for ``alpha`` above 4).
        tasks: see :class:`Balancer`.

    State: one log-price a task. The first tasks start at the price of a utility in the middle of the range; one that
    joins later at the (geometric) mean price of the others in its first step. A loss that is not finite leaves its
    price. ``notes`` hold the ``utilities`` observed and the ``prices`` after the step, both ``[m]`` float64. Cost O(m).
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        ceiling: float = 6.0,
        u_min: float = 0.5,
        u_max: float | None = None,
        rate: float = 0.05,
        step: str = "multiplicative",
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        top = float(ceiling if u_max is None else u_max)
        if not 0 <= alpha <= _LARGEST_ALPHA:
            raise OptionError(
                f"alpha must be between 0 and {_LARGEST_ALPHA:g}, got {alpha}: a large one, say 16, stands for max-min"
            )
        if not (math.isfinite(ceiling) and 0 < u_min < top < math.inf):
            raise OptionError(
                f"utilities need a finite ceiling and 0 < u_min < u_max, got {ceiling}, {u_min} and {top}"
            )
        if not 0 < rate < 1:
            raise OptionError(f"rate is the largest relative move of a price, between 0 and 1, got {rate}")
        if step not in STEPS:
            raise OptionError(f'step "{step}" is not known: choose "multiplicative" or "additive"')
        self.alpha, self.ceiling, self.rate, self.step = float(alpha), float(ceiling), float(rate), step
        self.u_min, self.u_max = float(u_min), top
        self.task_state.declare("log_price", math.nan)

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` adding up to m; then the dual step, so each call counts as one step."""
        known = self.check_names(len(losses), names)
        log_price = self._started(self.task_state.read("log_price", known))
        utilities = (self.ceiling - losses.detach().double()).clamp(self.u_min, self.u_max)
        weights = len(losses) * torch.softmax(log_price, 0)
        after = torch.where(utilities.isnan(), log_price, self._descended(log_price, utilities))
        self.task_state.write("log_price", known, after)
        self.notes = {"utilities": utilities, "prices": after.exp()}
        return weights.to(losses)

    def reset(self) -> None:
        """Forget all prices."""
        self.task_state.tensors["log_price"].fill_(math.nan)

    def _started(self, log_price: Tensor) -> Tensor:
        new = log_price.isnan()
        if not bool(new.any()):
            return log_price
        middle = -self.alpha * math.log((self.u_min + self.u_max) / 2)
        return torch.where(new, middle if bool(new.all()) else log_price[~new].mean(), log_price)

    def _descended(self, log_price: Tensor, utilities: Tensor) -> Tensor:
        """The projected gradient step on ``g(w) + w . u``, whose slope is ``u - w^(-1/a)``."""
        if self.alpha == 0:
            return log_price
        fair = torch.exp(-log_price / self.alpha)  # the utility the price is right for
        if self.step == "multiplicative":
            moved = log_price - self.rate * (utilities / fair - 1).clamp(-1, 1)
        else:
            scale = self.rate * self.u_max**-self.alpha / (self.u_max - self.u_min)
            moved = (log_price.exp() - scale * (utilities - fair)).log()
        return moved.clamp(-self.alpha * math.log(self.u_max), -self.alpha * math.log(self.u_min))
