"""Published ways to balance, tried: ``gcond``, with its parts for a model and losses of one's own, and ``emtl``.

Names are loaded when first used: the registry imports this package only to read what a system claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "AccumulatedStep": "_accumulated_step",
    "MaskedAutoencoder": "_masked",
    "MaskedImages": "_masked",
    "Target": "_masked",
    "digits": "_masked",
    "reconstruction_errors": "_masked",
    "reconstruction_losses": "_masked",
    "ssim": "_masked",
    "estimates": "_estimates",
    "true_gradients": "_estimates",
    "zone": "_estimates",
    "zone_rate": "_estimates",
}

__all__ = [
    "AccumulatedStep",
    "MaskedAutoencoder",
    "MaskedImages",
    "Target",
    "digits",
    "estimates",
    "reconstruction_errors",
    "reconstruction_losses",
    "ssim",
    "true_gradients",
    "zone",
    "zone_rate",
]

if TYPE_CHECKING:
    from ._accumulated_step import AccumulatedStep
    from ._estimates import estimates, true_gradients, zone, zone_rate
    from ._masked import (
        MaskedAutoencoder,
        MaskedImages,
        Target,
        digits,
        reconstruction_errors,
        reconstruction_losses,
        ssim,
    )


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
