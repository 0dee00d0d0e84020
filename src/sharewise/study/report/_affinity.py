"""Affinity: what a step on one task does to the loss of another."""

from __future__ import annotations

from ...page import (
    DIVERGING,
    FONT,
    NUMBERS,
    Cell,
    Column,
    Figure,
    Row,
    Table,
    Variant,
    clean,
    colorbar,
    for_plot,
    interval,
    known,
    label,
    layouts,
    scale,
    signed,
    value,
)
from ..results import Affinity

_SIGNS = 12
"""Up to so many tasks the cells have room for a sign on a phone."""


def _order(affinity: Affinity) -> list[int]:
    """Tasks group by group, so that groups show as blocks."""
    place = {task: i for i, task in enumerate(affinity.tasks)}
    grouped = [place[t] for group in affinity.groups for t in group if t in place]
    return list(dict.fromkeys([*grouped, *range(len(affinity.tasks))]))


def _verb(low: float, high: float) -> str:
    if not (known(low) and known(high)):
        return "unclear"
    return "helps" if low > 0 else "hurts" if high < 0 else "unclear"


def affinity_figure(affinity: Affinity | None) -> Figure | None:
    """Helper by helped; the diagonal (a step on a task helps itself) is left out, it would hide the rest."""
    if affinity is None or len(affinity.tasks) < 2:
        return None
    order = _order(affinity)
    names = [affinity.tasks[i] for i in order]
    z = [[None if i == j else affinity.mean[i][j] for j in order] for i in order]
    signs = [["" if i == j else _sign(affinity, i, j) for j in order] for i in order]
    numbers = [["" if v is None else signed(v) for v in row] for row in z]
    trace = {
        "type": "heatmap",
        "z": z,
        "colorscale": DIVERGING,
        **scale(z),
        "xgap": 2,
        "ygap": 2,
        "colorbar": colorbar("fall of loss", " %"),
        "text": numbers if len(names) <= NUMBERS else signs,
        "texttemplate": "%{text}",
        "textfont": {"size": FONT, "color": "@ink"},
        "hoverinfo": "text",
        "hovertext": [[_hover(affinity, i, j) for j in order] for i in order],
    }
    layout, narrow = layouts(names, "A step on this task …", "… helps this task")
    small = {"text": signs} if len(names) <= _SIGNS else {"text": None, "texttemplate": "", "xgap": 0, "ygap": 0}
    words = "Which task helps which: rows help or hurt columns. The numbers follow below."
    variant = Variant("all", [{**trace, "narrow": small}])
    return Figure("affinity", "affinity", words, [variant], layout, narrow)


def _sign(affinity: Affinity, i: int, j: int) -> str:
    return {"helps": "+", "hurts": "−", "unclear": ""}[_verb(affinity.low[i][j], affinity.high[i][j])]


def _hover(affinity: Affinity, i: int, j: int) -> str:
    helper, helped = (for_plot(affinity.tasks[k], 40) for k in (i, j))
    if i == j:
        return f"{helper}: a step on a task helps itself"
    low, high = affinity.low[i][j], affinity.high[i][j]
    return f"{helper} {_verb(low, high)} {helped}<br>{signed(affinity.mean[i][j])} % ({interval(low, high)})"


def affinity_table(affinity: Affinity) -> Table:
    """Every ordered pair with its interval, in words."""
    columns = [
        Column("A step on", numeric=False),
        Column("does this", numeric=False),
        Column("to", numeric=False),
        Column("Fall of its loss, %"),
        Column("95 % interval"),
    ]
    looks = {"helps": "better", "hurts": "worse", "unclear": "unclear"}
    glyphs = {"helps": "▲", "hurts": "▼", "unclear": "○"}
    order = _order(affinity)
    rows = []
    for i in order:
        for j in order:
            if i == j:
                continue
            mean, low, high = affinity.mean[i][j], affinity.low[i][j], affinity.high[i][j]
            verb = _verb(low, high)
            word = Cell(f"{glyphs[verb]} {verb}", verb, outcome=looks[verb])
            effect = [value(mean, signed(mean)), value(low, interval(low, high))]
            rows.append(Row([label(clean(affinity.tasks[i])), word, label(clean(affinity.tasks[j])), *effect]))
    return Table("affinity-table", "Who helps whom", columns, rows)
