"""Crop models whose parameters a network sets every day, shared among cultivars (system ``crop-hybrid``).

Names are loaded when first used: the registry imports this package only to read what the system claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "CropHybrid": "_model",
    "Prediction": "_model",
    "Settings": "_model",
    "GDDPhenology": "_phenology",
    "STAGES": "_phenology",
    "FergusonHardiness": "_hardiness",
    "lte10": "_hardiness",
    "lte90": "_hardiness",
    "Parameter": "_parameters",
    "ParameterBox": "_parameters",
    "Seasons": "_seasons",
    "season_table": "_seasons",
    "seasons_from": "_seasons",
    "FEATURES": "_weather",
    "Weather": "_weather",
    "read_weather": "_weather",
    "resample": "_weather",
    "seattle": "_weather",
    "Simulation": "_simulator",
    "simulate": "_simulator",
    "backward_share": "_metrics",
    "inconsistent_share": "_metrics",
    "onset_day": "_metrics",
    "onset_errors": "_metrics",
}

__all__ = [
    "FEATURES",
    "STAGES",
    "CropHybrid",
    "FergusonHardiness",
    "GDDPhenology",
    "Parameter",
    "ParameterBox",
    "Prediction",
    "Seasons",
    "Settings",
    "Simulation",
    "Weather",
    "backward_share",
    "inconsistent_share",
    "lte10",
    "lte90",
    "onset_day",
    "onset_errors",
    "read_weather",
    "resample",
    "season_table",
    "seasons_from",
    "seattle",
    "simulate",
]

if TYPE_CHECKING:
    from ._hardiness import FergusonHardiness, lte10, lte90
    from ._metrics import backward_share, inconsistent_share, onset_day, onset_errors
    from ._model import CropHybrid, Prediction, Settings
    from ._parameters import Parameter, ParameterBox
    from ._phenology import STAGES, GDDPhenology
    from ._seasons import Seasons, season_table, seasons_from
    from ._simulator import Simulation, simulate
    from ._weather import FEATURES, Weather, read_weather, resample, seattle


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
