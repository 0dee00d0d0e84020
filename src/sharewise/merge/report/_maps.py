"""The bill's figures: measures by model and layer, cosines between models."""

from __future__ import annotations

from typing import Any

from ...page import (
    DIVERGING,
    FONT,
    LOSING,
    NUMBERS,
    Figure,
    Layout,
    Trace,
    Variant,
    axis,
    base,
    clean,
    colorbar,
    for_plot,
    layouts,
    margin_for,
    number,
    share,
    shorten,
    signed,
    title,
)
from ._levels import Numbers, each, known_numbers

_TICKS = 16
"""Layers that are named below a map, at most."""
_ON_A_PHONE = 6
"""Up to so many models the cells of a phone have room for their numbers."""
MAPS = 200
"""Layers whose cosines can be looked at one by one, at most."""


def layers_figure(bill: Numbers) -> Figure | None:
    """Models by layers, a variant for each measure; ``None`` where there is only one layer to show."""
    if len(bill["layers"]) < 2:
        return None
    variants = [_measure(bill, key, column.label) for key, column in each(bill).items()]
    if bill["changes"] and len(bill["models"]) > 1:
        variants.append(_conflict(bill))
    rows = [shorten(m, 20) for m in bill["models"]]
    words = "Each measure by model and layer. The numbers follow below."
    return Figure("layers", "layers", words, variants, _layout(bill, rows, 20), _narrow(bill, len(rows)))


def _layout(bill: Numbers, rows: list[str], length: int) -> Layout:
    names = [_short(row["layer"], bill) for row in bill["layers"]]
    step = -(-len(names) // _TICKS)
    ticks = list(range(0, len(names), step))
    return base(
        max(150, 40 * len(rows) + 100),
        margin={"l": margin_for(rows), "r": 20, "t": 8, "b": 84},
        xaxis=axis(title=title("layer"), showgrid=False, tickvals=ticks, ticktext=[names[i] for i in ticks]),
        yaxis=axis(autorange="reversed", showgrid=False, **_named(bill, len(rows), length)),
    )


def _named(bill: Numbers, rows: int, length: int) -> Layout:
    return {"tickvals": list(range(rows)), "ticktext": [for_plot(m, length) for m in bill["models"]]}


def _narrow(bill: Numbers, rows: int) -> Layout:
    ticks = list(range(0, len(bill["layers"]), -(-len(bill["layers"]) // 6)))
    return {
        "height": max(240, 40 * rows + 190),
        "margin": {"l": margin_for([shorten(m, 9) for m in bill["models"]]), "r": 8, "b": 160},
        "xaxis": {"tickvals": ticks, "ticktext": [_short(bill["layers"][i]["layer"], bill) for i in ticks]},
        "yaxis": _named(bill, rows, 9),
    }


def _short(layer: str, bill: Numbers) -> str:
    """A layer's number where the model has one stack of layers, else the end of its name."""
    prefix, dot, last = layer.rpartition(".")
    if not dot or not last.isdigit():
        return "rest"
    stacks = {row["layer"].rpartition(".")[0] for row in bill["layers"] if row["layer"].rpartition(".")[1]}
    return last if len(stacks) == 1 else for_plot(f"{prefix.rpartition('.')[2]} {last}", 12)


def _measure(bill: Numbers, key: str, name: str) -> Variant:
    z = [[row[key][i] for row in bill["layers"]] for i in range(len(bill["models"]))]
    hover = [
        [f"{for_plot(m, 40)}<br>{for_plot(row['layer'], 40)}: {number(row[key][i])}" for row in bill["layers"]]
        for i, m in enumerate(bill["models"])
    ]
    return Variant(name.lower(), [_map(z, hover, name.lower())])


def _conflict(bill: Numbers) -> Variant:
    z = [[100 * row["sign_conflict"] for row in bill["layers"]]]
    hover = [[f"{for_plot(row['layer'], 40)}: {share(row['sign_conflict'])}" for row in bill["layers"]]]
    one = {"tickvals": [0], "ticktext": ["all"]}
    layout = {"height": 180, "yaxis": one, "margin": {"l": 60}}
    return Variant("sign conflict", [_map(z, hover, "entries", " %")], layout, {**layout, "height": 240})


def _map(z: list[list[float | None]], hover: list[list[str]], name: str, suffix: str = "") -> Trace:
    most = max((v for row in z for v in known_numbers(row)), default=0.0) or 1.0
    return {
        "type": "heatmap",
        "z": z,
        "zmin": 0,
        "zmax": most,
        "colorscale": LOSING,
        "colorbar": colorbar(name, suffix),
        "xgap": 1,
        "ygap": 2,
        "hoverinfo": "text",
        "hovertext": hover,
    }


def cosines_figure(bill: Numbers) -> Figure | None:
    """Models by models, for the whole model and for each layer; ``None`` for one model."""
    names: list[str] = bill["models"]
    if len(names) < 2:
        return None
    parts: list[Any] = [("whole model", bill["total"])]
    parts += [(clean(row["layer"]), row) for row in bill["layers"][:MAPS]] if len(bill["layers"]) > 1 else []
    layout, narrow = layouts(names, "", "")
    words = "Cosine between what every two models bring. Those of tensors are in the table of tensors."
    variants = [Variant(shorten(name, 60), [_cosines(names, numbers["cosines"])]) for name, numbers in parts]
    return Figure("cosines", "cosines", words, variants, layout, narrow)


def _cosines(names: list[str], cosines: list[list[float | None]]) -> Trace:
    apart = [[None if i == j else c for j, c in enumerate(row)] for i, row in enumerate(cosines)]
    hover = [
        [f"{for_plot(a, 40)} × {for_plot(b, 40)}<br>cosine {signed(c)}" for b, c in zip(names, row, strict=True)]
        for a, row in zip(names, cosines, strict=True)
    ]
    return {
        "type": "heatmap",
        "z": apart,
        "zmin": -1,
        "zmax": 1,
        "colorscale": DIVERGING,
        "colorbar": colorbar("cosine"),
        "xgap": 2,
        "ygap": 2,
        "text": [["" if c is None else signed(c) for c in row] for row in apart],
        "texttemplate": "%{text}" if len(names) <= NUMBERS else "",
        "textfont": {"size": FONT, "color": "@ink"},
        "hoverinfo": "text",
        "hovertext": hover,
        "narrow": {} if len(names) <= _ON_A_PHONE else {"texttemplate": "", "xgap": 1, "ygap": 1},
    }
