"""Ferguson's model of bud cold hardiness, batched and differentiable.

J. C. Ferguson et al., "Dynamic thermal time model of cold hardiness for dormant grapevine buds", Annals of
Botany 107 (2011) 389-396, with the parameter names and ranges of W. Solow et al. 2026 (arXiv 2603.15411).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._parameters import Parameter, ParameterBox
from ._process import State

_HCMIN, _HCMAX, _TENDO, _TECO, _ENACC, _ECACC, _ENDEACC, _ECDEACC, _ECOBOUND = range(9)
_CHILL_BASE = 10.0


class FergusonHardiness:
    """Hardiness HC (= LTE50, degrees Celsius lethal to half of the buds), one value a day.

    Chilling ``min(0, TEMP - 10)`` accumulates until ECOBOUND, where endodormancy ends. With the threshold
    T_th of the current dormancy (TENDO, TECO), heating ``max(0, TEMP - T_th)`` makes buds less hardy and
    cooling ``min(0, TEMP - T_th)`` hardier::

        D = heating * k_d * (1 - ((HC - HCMAX) / (HCMIN - HCMAX)) ** theta)     0 until the first cooling
        A = cooling * k_a * (1 - (HCMIN - HC) / (HCMIN - HCMAX))
        HC <- clamp(HC + D + A, HCMAX, HCMIN)

    HCMAX is the most negative value. The exponent is 1 in endodormancy and ``exponent`` in ecodormancy.
    States are ``(HC, chilling, cooling, ecodormant)``, all of the batch's shape.

    Args:
        initial: hardiness before the first day (HCINIT). The published network predicts it although it is
            used only at reset; here it is a constant.
        exponent: THETA, a positive whole number, because its base can leave [0, 1] when the bounds move.
        official_clamp: the published batch code hands its clamp the bounds in another order, which keeps
            the upper bound and loses the lower one; True repeats that. Default: both bounds hold.
    """

    name = "hardiness"
    output_loc = -13.0
    output_scale = 7.0
    box = ParameterBox(
        [
            Parameter("HCMIN", -5.0, 0.0, -1.2, "C"),
            Parameter("HCMAX", -40.0, -20.0, -25.7, "C"),
            Parameter("TENDO", 10.0, 20.0, 14.0, "C"),
            Parameter("TECO", 0.0, 10.0, 3.0, "C"),
            Parameter("ENACCLIM", 0.0, 0.2, 0.10, "1/d"),
            Parameter("ECACCLIM", 0.0, 0.2, 0.02, "1/d"),
            Parameter("ENDEACCLIM", 0.0, 0.2, 0.10, "1/d"),
            Parameter("ECDEACCLIM", 0.0, 0.2, 0.08, "1/d"),
            Parameter("ECOBOUND", -800.0, -200.0, -600.0, "C d"),
        ]
    )

    def __init__(self, initial: float = -11.8, exponent: int = 7, official_clamp: bool = False) -> None:
        self.initial = initial
        self.exponent = int(exponent)
        self.official_clamp = official_clamp

    def start(self, like: Tensor) -> State:
        """Stock hardiness, nothing accumulated, endodormancy."""
        zero = torch.zeros_like(like)
        return torch.full_like(like, self.initial), zero, zero, zero

    def step(
        self,
        state: State,
        temperature: Tensor,
        day_length: Tensor,
        theta: Tensor,
        response: Tensor | None = None,
    ) -> State:
        """One day, elementwise over ``[...]``; ``theta`` is ``[..., 9]`` in the order of ``box``.

        ``response`` replaces the temperature where a response is learned; ``day_length`` is not used.
        """
        hardiness, chilling, cooled, eco = state
        warmth = temperature if response is None else response
        ecodormant = eco > 0.5
        value = theta.unbind(-1)
        low, high = value[_HCMAX], value[_HCMIN]
        excess = warmth - torch.where(ecodormant, value[_TECO], value[_TENDO])
        heating, cooling = excess.clamp(min=0), excess.clamp(max=0)
        position = (hardiness - low) / (high - low).clamp(min=1e-6)
        rate = torch.where(ecodormant, value[_ECDEACC], value[_ENDEACC])
        loss = heating * rate * (1 - torch.where(ecodormant, position**self.exponent, position))
        loss = torch.where(cooled != 0, loss, 0.0)
        # 1 - (HCMIN - HC) / (HCMIN - HCMAX) is the same position in the range.
        gain = cooling * torch.where(ecodormant, value[_ECACC], value[_ENACC]) * position
        hardiness = hardiness + loss + gain
        if not self.official_clamp:
            hardiness = torch.maximum(hardiness, low)
        hardiness = torch.minimum(hardiness, high)

        chilling = chilling + (warmth - _CHILL_BASE).clamp(max=0).detach()
        cooled = cooled + cooling.detach()
        return hardiness, chilling, cooled, (ecodormant | (chilling <= value[_ECOBOUND])).to(eco)

    def output(self, level: Tensor) -> Tensor:
        """LTE50, the level itself."""
        return level


def lte10(lte50: Tensor) -> Tensor:
    """Temperature lethal to 10 % of the buds from LTE50, ``0.999 LTE50 + 1.469``; any shape, degrees Celsius."""
    return 0.999 * lte50 + 1.469


def lte90(lte50: Tensor) -> Tensor:
    """Temperature lethal to 90 % of the buds from LTE50, ``0.947 LTE50 - 2.238``; any shape, degrees Celsius."""
    return 0.947 * lte50 - 2.238
