"""Cost against quality: is an arm worth its time?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...page import (
    FONT,
    Column,
    Figure,
    Layout,
    Row,
    Table,
    Trace,
    Variant,
    axis,
    base,
    count,
    duration,
    for_plot,
    interval,
    known,
    label,
    number,
    percent,
    shorten,
    title,
    value,
)
from ..results import StudyResult
from ._arms import arm_title, separate
from ._estimate import cost_mean
from ._place import Box, place
from ._theme import KIND_WORDS, KINDS

# Plot areas the labels are placed for; a wider screen only gives them more room.
_WIDE, _NARROW = (780.0, 360.0), (300.0, 300.0)


@dataclass(frozen=True)
class _Point:
    place: int
    name: str
    title: str
    kind: str
    seconds: float
    quality: float
    low: float
    high: float
    parameters: float


def _points(result: StudyResult) -> list[_Point]:
    """Arms with a fit time and a mean change; separate models are the zero they are measured from."""
    alone = separate(result)
    quality = {d.arm: (d.higher_is_better, d.low, d.high) for d in result.delta_m if d.versus == alone}
    if alone is not None:
        quality[alone] = (0.0, 0.0, 0.0)
    points = []
    for number_, arm in enumerate(result.arms, 1):
        seconds = cost_mean(result, arm.name, "fit_seconds")
        parameters = cost_mean(result, arm.name, "parameters")
        mean, low, high = quality.get(arm.name, (math.nan, math.nan, math.nan))
        if seconds is not None and known(mean):
            name = arm_title(result, arm.name)
            points.append(_Point(number_, arm.name, name, arm.kind, seconds, mean, low, high, parameters or 0.0))
    # The recommended arm is drawn last, on top of those beside it.
    return sorted(points, key=lambda p: p.name == result.verdict.arm)


def cost_figure(result: StudyResult) -> Figure | None:
    """Fit time by mean change; marks have the table's numbers and an area that grows with the parameters."""
    points = _points(result)
    if len(points) < 2:
        return None
    best = result.verdict.arm
    xs, x_axis = _time_axis([p.seconds for p in points])
    ends = [v for p in points for v in (p.low, p.high, p.quality) if known(v)]
    room = 0.14 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - room, max(ends) + room
    span = (*x_axis["range"], low, high)
    most = max(p.parameters for p in points) or 1.0
    sizes = [24 + 16 * math.sqrt(p.parameters / most) for p in points]
    everyone = list(range(len(points)))
    only_best = [i for i in everyone if points[i].name == best]
    layout = base(
        440,
        margin={"l": 66, "r": 16, "t": 16, "b": 56},
        xaxis=axis(title=title("seconds to fit"), **x_axis),
        yaxis=axis(
            title=title("mean change (delta_m), %"),
            range=[low, high],
            zeroline=True,
            zerolinecolor="@muted",
            zerolinewidth=2,
        ),
        annotations=_labels(points, xs, sizes, span, _WIDE, [*only_best, *everyone], best),
    )
    narrow = {
        "height": 380,
        "margin": {"l": 56, "r": 8},
        "annotations": _labels(points, xs, sizes, span, _NARROW, only_best, best),
        "yaxis": {"nticks": 5},
    }
    words = "Seconds to fit and mean change of each strategy. The numbers follow in the table."
    return Figure("cost", "cost", words, [Variant("all", [_trace(points, sizes, best)])], layout, narrow)


def _trace(points: list[_Point], sizes: list[float], best: str | None) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [p.seconds for p in points],
        "y": [p.quality for p in points],
        "text": [str(p.place) for p in points],
        "textposition": "middle center",
        "textfont": {"size": FONT, "color": "@paper", "weight": 700},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [p.high - p.quality for p in points],
            "arrayminus": [p.quality - p.low for p in points],
            "color": "@muted",
            "thickness": 2,
            "width": 5,
        },
        "marker": {
            "size": sizes,
            "symbol": [KINDS[p.kind] for p in points],
            "color": ["@better" if p.name == best else "@muted" for p in points],
            "opacity": 1,
            "line": {"width": 1.5, "color": "@paper"},
        },
        "cliponaxis": False,
        "hoverinfo": "text",
        "hovertext": [_hover(p) for p in points],
    }


def _hover(p: _Point) -> str:
    size = f"{count(p.parameters)} parameters" if p.parameters else "parameters not counted"
    change = f"{percent(p.quality)} ({interval(p.low, p.high)})"
    name = f"<b>{p.place} {for_plot(p.title, 60)}</b>"
    return f"{name}<br>{duration(p.seconds)} to fit · {size}<br>delta_m {change}"


def _time_axis(seconds: list[float]) -> tuple[list[float], Layout]:
    """Positions along the axis, and the axis: logarithmic where times differ by more than five."""
    low, high = min(seconds), max(seconds)
    if low > 0 and high / low > 5:
        room = 0.12 * math.log10(high / low)
        ticks = [m * 10.0**e for e in range(-6, 8) for m in (1, 2, 5)]
        inside = [t for t in ticks if 10**-room * low <= t <= 10**room * high]
        marks = {"tickvals": inside, "ticktext": [number(t, 1) for t in inside]} if len(inside) <= 12 else {}
        ends = [math.log10(low) - room, math.log10(high) + room]
        return [math.log10(s) for s in seconds], {"type": "log", "range": ends, **marks}
    return seconds, {"range": [0.0, 1.15 * high or 1.0], "rangemode": "tozero"}


def _labels(
    points: list[_Point],
    xs: list[float],
    sizes: list[float],
    span: tuple[float, float, float, float],
    area: tuple[float, float],
    order: list[int],
    best: str | None,
) -> list[Layout]:
    order = list(dict.fromkeys(order))
    rest = [i for i in range(len(points)) if i not in order]
    every = [*order, *rest]
    left, right, low, high = span
    centres = [
        (area[0] * (xs[i] - left) / (right - left), area[1] * (high - points[i].quality) / (high - low)) for i in every
    ]
    texts = [shorten(points[i].title, 34) for i in every]
    # Marks that get no label still take their room: their labels are wider than any area.
    widths = [8.1 * len(t) if k < len(order) else 1e9 for k, t in enumerate(texts)]
    zero = area[1] * high / (high - low)
    taken = [Box(0, zero - 2, area[0], zero + 2)]
    for (x, _), i in zip(centres, every, strict=True):
        ends = [area[1] * (high - v) / (high - low) for v in (points[i].high, points[i].low) if known(v)]
        taken += [Box(x - 4, min(ends), x + 4, max(ends))] if ends else []
    found = place(centres, [sizes[i] / 2 for i in every], widths, area, taken)
    return [
        {
            "x": xs[every[spot.index]],
            "y": points[every[spot.index]].quality,
            "xanchor": spot.anchor,
            "yanchor": "middle",
            "xshift": spot.dx,
            "yshift": -spot.dy,
            "showarrow": False,
            "text": for_plot(texts[spot.index]),
            "font": {"size": FONT, "color": "@better" if points[every[spot.index]].name == best else "@ink"},
        }
        for spot in found
    ]


_COSTS = {
    "fit_seconds": duration,
    "parameters": count,
    "models": count,
    "predict_seconds": duration,
    "tuning_seconds": duration,
    "peak_mb": number,
}
"""Fields of the cost table and how each is printed."""


def cost_table(result: StudyResult) -> Table:
    """Every arm's cost, mean over seeds."""
    columns = [
        Column("Strategy", numeric=False),
        Column("Fit", note="training the chosen models once"),
        Column("Parameters", note="learned numbers; for trees, split and leaf values"),
        Column("Models"),
        Column("Predict", note="every target for the test rows, once"),
        Column("Tuning", note="all trials together"),
        Column("Memory, MB", note="at most, above what was used before training"),
        Column("Kind", numeric=False),
    ]
    rows = []
    for place_, arm in enumerate(result.arms, 1):
        cells = [label(f"{place_} · {arm_title(result, arm.name)}")]
        for field, words in _COSTS.items():
            mean = cost_mean(result, arm.name, field)
            cells.append(value(mean, words(mean)))
        rows.append(Row([*cells, label(KIND_WORDS[arm.kind])]))
    return Table("cost-table", "What each strategy costs, mean over seeds", columns, rows)
