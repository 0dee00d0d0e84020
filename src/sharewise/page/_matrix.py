"""The layout of maps of tasks by tasks."""

from __future__ import annotations

from ._figures import Layout, axis, base, margin_for, title
from ._text import for_plot, shorten

NUMBERS = 9
"""Up to so many tasks the cells have room for their numbers."""
_NAMED = 14
"""Up to so many tasks the columns have room for their names."""


def layouts(names: list[str], row: str, column: str) -> tuple[Layout, Layout]:
    """The layout and its narrow form; many columns are numbered, and the rows say which number is whose.

    Args:
        names: of the tasks, in order.
        row, column: titles of the axes.
    """
    wide = [shorten(n, 22) for n in names]
    short = [shorten(n, 11) for n in names]
    at = list(range(len(names)))
    plain = {"showgrid": False, "tickvals": at}
    numbered = len(names) > _NAMED
    rows = [f"{for_plot(n, 22)} · {i}" if numbered else for_plot(n, 22) for i, n in enumerate(names, 1)]
    below = 44 if numbered else margin_for(wide) * 7 // 10 + 36
    tilt = 0 if numbered or max(map(len, wide)) <= 6 else -40
    layout = base(
        max(180, (28 if numbered else 44) * len(names)) + below + 16,
        margin={"l": margin_for(wide) + (50 if numbered else 30), "r": 20, "t": 8, "b": below + 8},
        xaxis=axis(title=title(column), ticktext=rows, tickangle=tilt, **plain),
        yaxis=axis(title=title(row), autorange="reversed", ticktext=rows, **plain),
    )
    narrow_below = 120 if numbered else margin_for(short) + 116
    narrow: Layout = {
        "height": max(150, (28 if numbered else 34) * len(names)) + narrow_below + 16,
        "margin": {"l": margin_for(short) + (40 if numbered else 24), "r": 6, "b": narrow_below},
        "xaxis": {"ticktext": [for_plot(n, 11) for n in names], "tickangle": -90},
        "yaxis": {
            "ticktext": [f"{for_plot(n, 11)} · {i}" if numbered else for_plot(n, 11) for i, n in enumerate(names, 1)]
        },
    }
    if numbered:
        layout["xaxis"].update(_numbers(len(names), 20))
        narrow["xaxis"] = {**_numbers(len(names), 7), "tickangle": 0}
    return layout, narrow


def _numbers(n: int, most: int) -> Layout:
    """Ticks that count from one, at most about so many."""
    step = -(-n // most)
    return {"tickvals": list(range(0, n, step)), "ticktext": [str(i + 1) for i in range(0, n, step)]}
