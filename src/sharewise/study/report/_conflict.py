"""Conflict: the cosines between the tasks' gradients, over training and summed up."""

from __future__ import annotations

from ...page import (
    DIVERGING,
    Column,
    Figure,
    Row,
    Table,
    Trace,
    Variant,
    axis,
    base,
    clean,
    colorbar,
    for_plot,
    known,
    label,
    margin_for,
    number,
    scale,
    share,
    shorten,
    signed,
    title,
    value,
)
from ..results import Conflict
from ._estimate import estimate

MOST = 30
"""Pairs in the figure; the table has all."""


def _order(conflict: Conflict) -> list[int]:
    """Pairs by mean cosine, the most conflicting first; pairs never probed last."""
    means = [estimate(row).mean for row in conflict.cosine]
    return sorted(range(len(means)), key=lambda i: (means[i] is None, means[i] or 0.0))


def conflict_figure(conflict: Conflict | None) -> Figure | None:
    """Pairs of tasks by epochs; ``None`` where no gradients were probed."""
    if conflict is None or not any(known(c) for row in conflict.cosine for c in row):
        return None
    chosen = _order(conflict)[:MOST]
    names = [conflict.pairs[i] for i in chosen]
    wide = [f"{shorten(a, 16)} × {shorten(b, 16)}" for a, b in names]
    layout = base(
        30 * len(names) + 100,
        margin={"l": margin_for(wide, 300), "r": 20, "t": 8, "b": 52},
        xaxis=axis(title=title("epoch"), showgrid=False),
        yaxis=axis(
            autorange="reversed",
            showgrid=False,
            tickvals=list(range(len(names))),
            ticktext=[for_plot(text) for text in wide],
        ),
    )
    narrow = {
        "height": 44 * len(names) + 160,
        "margin": {"l": margin_for([shorten(n, 12) + " ×" for pair in names for n in pair]), "r": 8, "b": 120},
        "yaxis": {"ticktext": [f"{for_plot(a, 12)} ×<br>{for_plot(b, 12)}" for a, b in names]},
    }
    words = "Cosine between the gradients of each pair of tasks in each epoch. The numbers follow below."
    return Figure("conflict", "conflict", words, [Variant("all", [_map(conflict, chosen)])], layout, narrow)


def _map(conflict: Conflict, chosen: list[int]) -> Trace:
    z = [conflict.cosine[i] for i in chosen]
    hover = []
    for i in chosen:
        a, b = (for_plot(name, 40) for name in conflict.pairs[i])
        hover.append([f"{a} × {b}<br>epoch {e}: cosine {signed(c)}" for e, c in _points(conflict, i)])
    return {
        "type": "heatmap",
        "z": z,
        "x": conflict.epochs,
        "y": list(range(len(chosen))),
        "colorscale": DIVERGING,
        "zmid": 0,
        **scale(z),
        "colorbar": colorbar("cosine"),
        "hoverinfo": "text",
        "hovertext": hover,
    }


def _points(conflict: Conflict, pair: int) -> list[tuple[int, float]]:
    return list(zip(conflict.epochs, conflict.cosine[pair], strict=False))


def conflict_table(conflict: Conflict) -> Table:
    """All pairs: mean cosine over training, and how often the gradients pulled apart."""
    columns = [
        Column("Task", numeric=False),
        Column("Other task", numeric=False),
        Column("Mean cosine"),
        Column("Steps in conflict", note="share of probed steps with a negative cosine"),
        Column("First epoch"),
        Column("Last epoch"),
    ]
    rows = []
    for i in _order(conflict):
        (a, b), row = conflict.pairs[i], conflict.cosine[i]
        mean, rate = estimate(row).mean, conflict.conflict_rate[i]
        ends = [value(v, signed(v)) for v in (row[0], row[-1])] if row else [value(None, ""), value(None, "")]
        cells = [label(clean(a)), label(clean(b)), value(mean, signed(mean)), value(rate, share(rate)), *ends]
        rows.append(Row(cells))
    return Table("conflict-table", "Gradient conflict of every pair of tasks", columns, rows)


def conflict_sentence(conflict: Conflict | None) -> str:
    """What the map says, in one sentence; empty where there is no map."""
    if conflict is None or not conflict.pairs:
        return ""
    means = [estimate(row).mean for row in conflict.cosine]
    pulling = sum(m is not None and m < 0 for m in means)
    worst = _order(conflict)[0]
    a, b = conflict.pairs[worst]
    pair = f"“{clean(a)}” and “{clean(b)}” (mean cosine {number(means[worst], 2)})"
    if not pulling:
        return f"No pair of tasks pulls apart on average; the least aligned are {pair}."
    return f"{pulling} of {len(means)} pairs pull apart on average; most of all {pair}."
