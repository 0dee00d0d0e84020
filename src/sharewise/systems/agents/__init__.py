"""Agents that learn several games with one spiking network (system ``switchmt``), and the games.

Names are loaded when first used: the registry imports this package only to read what the system claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "GAMES": "_pixels",
    "PixelGame": "_pixels",
    "atari": "_atari",
    "scripted": "_pixels",
}

__all__ = ["GAMES", "PixelGame", "atari", "scripted"]

if TYPE_CHECKING:
    from ._atari import atari
    from ._pixels import GAMES, PixelGame, scripted


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
