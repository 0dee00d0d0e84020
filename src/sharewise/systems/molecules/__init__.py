"""Properties of molecules: shared networks with learned gradient intervention (systems ``aim``, ``aim-moleculenet``).

Names are loaded when first used: the registry imports this package only to read what the systems claim.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "PropertyModel": "_model",
    "PropertyTable": "_table",
    "Parts": "_training",
    "PolicyHistory": "_policy",
    "DESCRIPTORS": "_features",
    "canonical": "_features",
    "featurise": "_features",
    "Simulation": "_simulator",
    "simulate": "_simulator",
}

__all__ = [
    "DESCRIPTORS",
    "Parts",
    "PolicyHistory",
    "PropertyModel",
    "PropertyTable",
    "Simulation",
    "canonical",
    "featurise",
    "simulate",
]

if TYPE_CHECKING:
    from ._features import DESCRIPTORS, canonical, featurise
    from ._model import PropertyModel
    from ._policy import PolicyHistory
    from ._simulator import Simulation, simulate
    from ._table import PropertyTable
    from ._training import Parts


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
