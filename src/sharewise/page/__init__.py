"""Pages that are one file: they need no network, escape every name, fit a phone, sort and print.

A part that has something to show (a study, a merge) brings a template and its figures and tables; what a page may do,
its looks and its one script are here.
"""

from ._colors import DIVERGING, LOSING, SEQUENTIAL, colorbar, scale
from ._figures import FONT, Figure, Layout, Trace, Variant, axis, base, margin_for, title
from ._matrix import NUMBERS, layouts
from ._render import environment, render
from ._tables import Cell, Column, Row, Table, label, value
from ._text import (
    DASH,
    clean,
    count,
    duration,
    for_plot,
    interval,
    known,
    number,
    percent,
    plus_minus,
    probability,
    prose,
    share,
    shorten,
    signed,
    times,
)

__all__ = [
    "DASH",
    "DIVERGING",
    "FONT",
    "LOSING",
    "NUMBERS",
    "SEQUENTIAL",
    "Cell",
    "Column",
    "Figure",
    "Layout",
    "Row",
    "Table",
    "Trace",
    "Variant",
    "axis",
    "base",
    "clean",
    "colorbar",
    "count",
    "duration",
    "environment",
    "for_plot",
    "interval",
    "known",
    "label",
    "layouts",
    "margin_for",
    "number",
    "percent",
    "plus_minus",
    "probability",
    "prose",
    "render",
    "scale",
    "share",
    "shorten",
    "signed",
    "times",
    "title",
    "value",
]
