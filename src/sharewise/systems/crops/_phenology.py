"""Growing-degree-day model of grape phenology, batched and differentiable.

Stages: 0 ecodormancy, 1 budbreak, 2 flowering (bloom), 3 veraison, 4 ripe, then endodormancy. The model is
the daily GDD model in which W. Solow et al., "A Hybrid Modeling Framework for Crop Prediction Tasks via
Dynamic Parameter Calibration and Multi-Task Learning", 2026 (arXiv 2603.15411) predict the parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._parameters import Parameter, ParameterBox
from ._process import State

STAGES = ("ecodormancy", "budbreak", "bloom", "veraison", "ripe", "endodormancy")
_RIPE, _ENDODORMANT = 4, 5
_EPS = 1e-12


class GDDPhenology:
    """Thermal-time stage machine.

    One day adds ``DT = clamp(TEMP - TBASEM, 0, TEFFMX)`` degree days. The development stage grows by
    ``DT / TSUM_k``, with the thermal sum of the current stage: TSUMEM until budbreak, TSUM1 to flowering,
    TSUM2 to veraison, TSUM3 to ripeness, TSUM4 after. Budbreak needs ``sum(DT) >= TSUMEM``; later stages
    begin at a development stage of 2, 3 and 4; from veraison on, a day no longer than ``dormant_below``
    hours ends the season (endodormancy). Growth is never negative, so no parameter sequence can move a
    stage backwards.

    The output is the integer stage with a straight-through gradient: ``floor(DVS)`` in value, ``DVS`` in
    slope. States are ``(DVS, TSUME, stage)``, all of the batch's shape; ``stage`` is a whole number kept
    in the floating type of the batch.

    Args:
        dormant_below: day length in hours that starts endodormancy (MLDORM).

    What differs from the published code: the release from endodormancy by chilling (CSUMDB) is left out,
    because the published batch model never accumulates chilling and a season here starts after release.
    """

    name = "phenology"
    output_loc = 2.0
    output_scale = 1.5
    box = ParameterBox(
        [
            Parameter("TBASEM", 0.0, 15.0, 8.19, "C"),
            Parameter("TEFFMX", 15.0, 45.0, 25.0, "C"),
            Parameter("TSUMEM", 10.0, 100.0, 107.0, "C d"),
            Parameter("TSUM1", 100.0, 1000.0, 223.0, "C d"),
            Parameter("TSUM2", 100.0, 1000.0, 659.0, "C d"),
            Parameter("TSUM3", 100.0, 1000.0, 581.0, "C d"),
            Parameter("TSUM4", 100.0, 1000.0, 1000.0, "C d"),
        ]
    )

    def __init__(self, dormant_below: float = 12.7) -> None:
        self.dormant_below = dormant_below

    def start(self, like: Tensor) -> State:
        """No heat, ecodormancy."""
        zero = torch.zeros_like(like)
        return zero, zero, zero

    def step(
        self,
        state: State,
        temperature: Tensor,
        day_length: Tensor,
        theta: Tensor,
        response: Tensor | None = None,
    ) -> State:
        """One day, elementwise over ``[...]``; ``theta`` is ``[..., 7]`` in the order of ``box``.

        ``response`` (degree days, ``[...]``) replaces ``TEMP - TBASEM`` where a model of the temperature
        response is learned instead.
        """
        dvs, heat, stage = state
        base, ceiling, emergence = theta[..., 0], theta[..., 1], theta[..., 2]
        warm = temperature - base if response is None else response
        gained = torch.minimum(warm.clamp(min=0), ceiling)
        needed = theta[..., 2:].gather(-1, stage.clamp(max=_RIPE).long().unsqueeze(-1)).squeeze(-1)
        dvs = dvs + gained / needed.clamp(min=_EPS)

        # Only comparisons follow: no gradient belongs to them.
        dormant = stage == 0
        heat = heat + torch.where(dormant, gained.detach(), 0.0)
        passed = torch.where(dormant, heat >= emergence, (dvs >= stage + 1) & (stage < _RIPE))
        asleep = (stage >= _RIPE - 1) & (day_length <= self.dormant_below)
        return dvs, heat, torch.where(asleep, float(_ENDODORMANT), stage + passed)

    def output(self, level: Tensor) -> Tensor:
        """``floor(level)`` with the gradient of ``level``."""
        return torch.floor(level).detach() + (level - level.detach())
