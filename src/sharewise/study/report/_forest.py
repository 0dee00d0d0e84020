"""Who gains and who loses: each task's change with its interval, the margin, and the outcome in words."""

from __future__ import annotations

from typing import Any

from ...page import (
    FONT,
    Cell,
    Column,
    Figure,
    Row,
    Table,
    Trace,
    Variant,
    axis,
    base,
    clean,
    for_plot,
    interval,
    known,
    label,
    margin_for,
    percent,
    probability,
    shorten,
    signed,
    title,
    value,
)
from ..results import Comparison, StudyResult
from ._arms import arm_title, compared, pairs
from ._theme import OUTCOMES

_ROW, _NARROW_ROW = 42, 64


def forest(result: StudyResult) -> Figure | None:
    """The forest plot, one variant a compared pair; ``None`` where nothing was compared."""
    found = pairs(result)
    if not found:
        return None
    first = compared(result, found[0])
    rows = max(len(compared(result, pair)) for pair in found)
    left = margin_for([shorten(c.task, 30) for c in first])
    layout = base(
        _ROW * rows + 76,
        margin={"l": left, "r": 110, "t": 26, "b": 50},
        yaxis=axis(range=[-0.6, rows - 0.4], showgrid=False, tickvals=[], showline=False),
    )
    narrow = {
        "height": _NARROW_ROW * rows + 86,
        "margin": {"l": 6, "r": 6, "b": 60},
        "yaxis": {"showticklabels": False, "range": [-0.35, rows - 0.3]},
    }
    variants = [_variant(result, pair, rows) for pair in found]
    words = f"Change of each task with its 95 % interval, {arm_title(result, found[0][0])}. Numbers follow below."
    return Figure("forest", "forest", words, variants, layout, narrow)


def reach(comparisons: list[Comparison], margin: float) -> tuple[float, float]:
    """Ends of the axis: all effects, zero and the margin; intervals as far as thrice the largest effect."""
    effects = [c.effect for c in comparisons if known(c.effect)]
    ends = [v for c in comparisons for v in (c.low, c.high) if known(v)]
    most = 3 * max([*map(abs, effects), 1.5 * margin, 0.1])
    low = max(min([*ends, *effects, -1.5 * margin]), -most)
    high = min(max([*ends, *effects, 1.5 * margin, 0.1]), most)
    room = 0.06 * (high - low)
    return low - room, high + room


def _variant(result: StudyResult, pair: tuple[str, str], rows: int) -> Variant:
    found = compared(result, pair)
    margin = result.verdict.margin
    low, high = reach(found, margin)
    against = arm_title(result, pair[1])
    height = {c.task: rows - 1 - i for i, c in enumerate(found)}
    traces = [_trace(word, [c for c in found if c.outcome == word], height) for word in OUTCOMES]
    # The margin's label stands on the side where there is room for it.
    left_of_margin = (-margin - low) / (high - low)
    wide_notes, narrow_notes = _notes(found, height)
    wide_notes.append(_margin_note(margin, "right" if left_of_margin > 0.14 else "left"))
    narrow_notes.append(_margin_note(margin, "right" if left_of_margin > 0.33 else "left"))
    layout: dict[str, Any] = {
        "xaxis": axis(
            range=[low, high],
            nticks=9,
            zeroline=True,
            zerolinecolor="@muted",
            zerolinewidth=2,
            title=title(f"← worse · change against {for_plot(against, 40).lower()}, % · better →"),
        ),
        "yaxis": {"tickvals": list(height.values()), "ticktext": [for_plot(c.task, 30) for c in found]},
        "shapes": [_line(-margin)],
        "annotations": wide_notes,
    }
    between = [_rule(h + 0.68) for h in height.values() if h < rows - 1]
    narrow = {
        "xaxis": {"title": {"text": "← worse · change in % · better →"}, "nticks": 6},
        "annotations": narrow_notes,
        "shapes": [*layout["shapes"], *between],
    }
    name = arm_title(result, pair[0])
    against_others = "" if pair[1] == pairs(result)[0][1] else f" against {against}"
    return Variant(name + against_others, [t for t in traces if t["x"]], layout, narrow)


def _notes(found: list[Comparison], height: dict[str, int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The outcome in words beside each bar; on a narrow screen above it, with the task's name."""
    wide, narrow = [], []
    for c in found:
        mark = OUTCOMES[c.outcome]
        side = {"yref": "y", "y": height[c.task], "showarrow": False, "xref": "paper"}
        said = {"text": f"{mark.glyph} {mark.word}", "font": _ink(mark.color)}
        above = {**side, "yshift": 20, "bgcolor": "@paper", "borderpad": 1}
        wide.append({**side, **said, "x": 1, "xanchor": "left", "xshift": 10})
        narrow.append({**above, "x": 0, "xanchor": "left", "text": for_plot(c.task, 26), "font": _ink("@ink")})
        narrow.append({**above, **said, "x": 1, "xanchor": "right"})
    return wide, narrow


def _trace(outcome: str, found: list[Comparison], height: dict[str, int]) -> Trace:
    mark = OUTCOMES[outcome]
    found = [c for c in found if known(c.effect)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [c.effect for c in found],
        "y": [height[c.task] for c in found],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [c.high - c.effect for c in found],
            "arrayminus": [c.effect - c.low for c in found],
            "color": mark.color,
            "thickness": 3,
            "width": 6,
        },
        "marker": {
            "symbol": mark.symbol,
            "size": 15,
            "color": mark.color,
            "line": {"width": 2, "color": mark.color},
        },
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{for_plot(c.task, 60)}</b><br>{percent(c.effect)} ({interval(c.low, c.high)})<br>{outcome}"
            for c in found
        ],
    }


def _ink(color: str) -> dict[str, Any]:
    return {"size": FONT, "color": color}


def _line(x: float) -> dict[str, Any]:
    line = {"color": "@worse", "width": 2, "dash": "dash"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _rule(y: float) -> dict[str, Any]:
    """A thin line between two rows: on a phone a name stands above its bar and must not seem to belong to another."""
    line = {"color": "@grid", "width": 1}
    return {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _margin_note(margin: float, anchor: str) -> dict[str, Any]:
    place = {"x": -margin, "xref": "x", "xanchor": anchor, "y": 1, "yref": "paper", "yanchor": "bottom"}
    return {**place, "text": f"margin −{margin:g} %", "showarrow": False, "font": _ink("@worse")}


def forest_tables(result: StudyResult) -> list[Table]:
    """The numbers behind each variant."""
    columns = [
        Column("Task", numeric=False),
        Column("Outcome", numeric=False),
        Column("Change, %"),
        Column("95 % interval"),
        Column("p", note="two-sided, one task by itself"),
        Column("p (Holm)", note="adjusted for the number of tasks"),
        Column("p (margin)", note="one-sided, against being worse by the margin or more"),
    ]
    tables = []
    for i, pair in enumerate(pairs(result)):
        caption = f"{arm_title(result, pair[0])} against {arm_title(result, pair[1]).lower()}, task by task"
        tables.append(Table(f"forest-{i}", caption, columns, [_row(c) for c in compared(result, pair)]))
    return tables


def _row(c: Comparison) -> Row:
    mark = OUTCOMES[c.outcome]
    return Row(
        [
            label(clean(c.task)),
            Cell(f"{mark.glyph} {mark.word}", str(list(OUTCOMES).index(c.outcome)), outcome=c.outcome),
            value(c.effect, signed(c.effect)),
            value(c.low, interval(c.low, c.high)),
            value(c.p, probability(c.p)),
            value(c.p_holm, probability(c.p_holm)),
            value(c.p_margin, probability(c.p_margin)),
        ]
    )
