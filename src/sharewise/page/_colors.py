"""Colour scales of maps, and the bar that explains one.

A figure names colours by token (``"@better"``); the page puts in the light or the dark value, which stand
as custom properties in ``page.css``. Hues follow the palette of Okabe and Ito (2008), darkened or lightened
until text in them has a contrast of at least 4.5 to its ground.
"""

from __future__ import annotations

from ._figures import FONT
from ._text import known

DIVERGING = [
    [0.0, "@negative"],
    [0.25, "@negative-soft"],
    [0.5, "@middle"],
    [0.75, "@positive-soft"],
    [1.0, "@positive"],
]
"""Vermilion to blue through the paper's colour: told apart with every common colour-vision deficiency."""

LOSING = [[0.0, "@middle"], [0.5, "@negative-soft"], [1.0, "@negative"]]
"""The conflicting half of ``DIVERGING``: one hue, told apart by its lightness, and text can stand on all of it."""

SEQUENTIAL = [[0.0, "@low"], [0.5, "@mid"], [1.0, "@high"]]
"""Dark blue through grey to yellow, after cividis (Nunez, Anderton and Renslow 2018)."""


def scale(z: list[list[float | None]] | list[list[float]]) -> dict[str, float]:
    """Limits of a colour scale centred at zero that has room for every finite value."""
    most = max((abs(v) for row in z for v in row if v is not None and known(v)), default=0.0) or 1.0
    return {"zmin": -most, "zmax": most}


def colorbar(text: str, suffix: str = "") -> dict[str, object]:
    """A slim colour bar."""
    heading = {"text": text, "font": {"size": FONT}}
    ticks = {"tickfont": {"size": FONT}, "ticksuffix": suffix, "nticks": 5}
    return {"title": heading, "thickness": 14, "outlinewidth": 0, **ticks}
