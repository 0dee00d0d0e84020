"""A small still picture of the verdict, for a README: no browser, no script, every string escaped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...files import write_text
from ...page import environment, known, shorten, signed
from ..results import Comparison, StudyResult
from ._arms import arm_title, compared, pairs
from ._forest import reach
from ._theme import OUTCOMES
from ._verdict import facts

WIDTH, LEFT, RIGHT, TOP, ROW = 880, 250, 690, 250, 34
"""Pixels: the picture, the two ends of the effects' axis, its first row, the height of a row."""

MOST = 12
"""Tasks drawn; a line says how many are left out."""


@dataclass(frozen=True)
class _Line:
    name: str
    y: int
    x: float
    low: float
    high: float
    outcome: str
    text: str


def write_picture(result: StudyResult, path: Path | str) -> None:
    """Write :func:`render_picture`'s drawing under ``path`` (``.svg``), atomically."""
    write_text(path, render_picture(result))


def render_picture(result: StudyResult) -> str:
    """Verdict and forest plot of the recommended arm as a static SVG, light or dark as the reader's."""
    found = pairs(result)
    comparisons = [c for c in (compared(result, found[0]) if found else []) if known(c.effect)]
    shown = comparisons[:MOST]
    ends = reach(shown, result.verdict.margin)
    lines = [_line(c, i, ends) for i, c in enumerate(shown)]
    bottom = TOP + ROW * len(lines)
    said = facts(result)
    return environment(Path(__file__).parent).get_template("picture.svg.j2").render(
        verdict=said,
        sentence=_wrap(said.sentence, 84),
        cheaper=" · ".join(f"{what}: {factor}" for what, factor in said.cheaper),
        title=shorten(result.title, 70),
        subject=arm_title(result, found[0][0]) if found else "",
        against=arm_title(result, found[0][1]).lower() if found else "",
        lines=lines,
        marks={name: mark.glyph for name, mark in OUTCOMES.items()},
        zero=_x(0.0, ends),
        margin=_x(-result.verdict.margin, ends),
        margin_text=f"margin −{result.verdict.margin:g} %",
        left_out=len(comparisons) - len(shown),
        width=WIDTH,
        top=TOP,
        bottom=bottom,
        height=bottom + (40 if lines else -44) + 26 * (len(comparisons) > len(shown)),
    )  # fmt: skip


def _x(effect: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return round(LEFT + (RIGHT - LEFT) * (max(low, min(high, effect)) - low) / (high - low), 1)


def _line(c: Comparison, i: int, ends: tuple[float, float]) -> _Line:
    low = _x(c.low if known(c.low) else c.effect, ends)
    high = _x(c.high if known(c.high) else c.effect, ends)
    text = f"{signed(c.effect)} % {c.outcome}"
    return _Line(shorten(c.task, 22), TOP + ROW * i + ROW // 2, _x(c.effect, ends), low, high, c.outcome, text)


def _wrap(text: str, length: int) -> list[str]:
    """Lines of at most ``length`` characters, two at most."""
    import textwrap

    return textwrap.wrap(text, length, max_lines=2, placeholder=" …")
