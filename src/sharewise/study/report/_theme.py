"""Words, shapes and colours of the page: every meaning has a shape or a word besides its colour.

A figure names colours by token (``"@better"``); the page puts in the light or the dark value, which stand
as custom properties in ``page.css``. Hues follow the palette of Okabe and Ito (2008), darkened or lightened
until text in them has a contrast of at least 4.5 to its ground.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..results import Answer


@dataclass(frozen=True)
class Mark:
    """How one outcome looks: in text and as plotly's symbol."""

    word: str
    glyph: str
    symbol: str
    color: str
    text: str


OUTCOMES = {
    "better": Mark(
        "better", "▲", "triangle-up", "@better", "a gain larger than chance explains (after Holm's correction)"
    ),
    "as good": Mark("as good", "◆", "diamond", "@good", "the data speak against a loss of the margin or more"),
    "unclear": Mark("unclear", "○", "circle-open", "@unclear", "none of these could be shown with these seeds"),
    "worse": Mark(
        "worse", "▼", "triangle-down", "@worse", "a loss larger than chance explains (after Holm's correction)"
    ),
}
"""In the order they are counted and explained."""

ANSWERS: dict[Answer, str] = {
    "share": "better",
    "share: as good and cheaper": "good",
    "share in these groups": "groups",
    "do not share": "worse",
    "too little data to say": "unclear",
}
"""Answer -> name of its colour and icon."""

KINDS = {"separate": "square", "shared": "circle", "groups": "diamond", "trees": "triangle-up"}
"""Kind of arm -> plotly's symbol."""

KIND_WORDS = {
    "separate": "separate models",
    "shared": "one shared model",
    "groups": "a model a group",
    "trees": "boosted trees",
}
