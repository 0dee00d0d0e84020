"""What every figure has in common: its data, its layout, and the layout's other form for a phone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Trace = dict[str, Any]
Layout = dict[str, Any]

FONT = 15
"""Size of all text in figures, px."""
_LETTER = 8.6
"""Mean width of a letter at that size, px, with room for wide ones."""


@dataclass(frozen=True)
class Variant:
    """One choice of a figure's selector: traces and layout on top of the common ones."""

    title: str
    traces: list[Trace]
    layout: Layout = field(default_factory=dict)
    narrow: Layout = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A plotly figure in parts.

    ``layout`` is merged, in this order, with the variant's, and on a narrow screen with ``narrow`` and the
    variant's ``narrow``. Figures of one ``group`` share a selector. ``label`` says in words what is drawn.
    """

    id: str
    group: str
    label: str
    variants: list[Variant]
    layout: Layout
    narrow: Layout = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "group": self.group,
            "layout": self.layout,
            "narrow": self.narrow,
            "variants": [{"traces": v.traces, "layout": v.layout, "narrow": v.narrow} for v in self.variants],
        }


def base(height: int, **parts: Any) -> Layout:
    """A plain layout without background, legend or zooming, so that a finger scrolls the page."""
    layout: Layout = {
        "height": height,
        "margin": {"l": 60, "r": 12, "t": 12, "b": 52},
        "font": {"size": FONT, "color": "@ink", "family": "system-ui, 'Segoe UI', Roboto, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
        "hoverlabel": {
            "font": {"size": FONT, "color": "@ink"},
            "bgcolor": "@paper",
            "bordercolor": "@muted",
            "align": "left",
        },
    }
    return {**layout, **parts}


def axis(**parts: Any) -> Layout:
    """An axis with quiet lines that cannot be zoomed."""
    plain: Layout = {
        "fixedrange": True,
        "gridcolor": "@grid",
        "linecolor": "@grid",
        "zeroline": False,
        "tickfont": {"size": FONT},
        "automargin": False,
        "ticks": "",
    }
    return {**plain, **parts}


def title(text: str, standoff: int = 12) -> Layout:
    """An axis title."""
    return {"text": text, "standoff": standoff, "font": {"size": FONT, "color": "@muted"}}


def margin_for(labels: list[str], most: int = 260) -> int:
    """Pixels the longest of ``labels`` needs beside an axis."""
    return min(most, round(max((len(text) for text in labels), default=4) * _LETTER) + 24)
