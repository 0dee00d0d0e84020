"""Scores of tasks before and after, where an evaluator gave them."""

from __future__ import annotations

from collections.abc import Mapping

from ...page import Cell, Column, Row, Table, clean, label, number, signed, value
from .._evaluate import MERGED
from ._levels import Numbers


def scores_of(bill: Numbers) -> Mapping[str, Mapping[str, float | None]]:
    """Task -> score of each model and of the merged one; empty where nothing was evaluated."""
    found: Mapping[str, Mapping[str, float | None]] = bill.get("scores") or {}
    return found


def best_before(scores: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The model that scores best at a task before merging."""
    before = [(model, score) for model, score in scores.items() if model != MERGED and score is not None]
    return max(before, key=lambda one: one[1], default=None)


def scores_table(bill: Numbers) -> Table | None:
    """A row a task: every model, the merged one, and how far that is from the best of them."""
    scores = scores_of(bill)
    if not scores:
        return None
    models = list(dict.fromkeys(m for row in scores.values() for m in row if m != MERGED))
    columns = [Column("Task", numeric=False), Column("Merged"), Column("Change"), *(Column(clean(m)) for m in models)]
    rows = []
    for task, row in scores.items():
        best, merged = best_before(row), row.get(MERGED)
        cells = [value(row.get(m), number(row.get(m), 4), best=best is not None and m == best[0]) for m in models]
        rows.append(Row([label(clean(task)), value(merged, number(merged, 4)), _change(best, merged), *cells]))
    return Table("scores", "Scores before and after", columns, rows)


def _change(best: tuple[str, float] | None, merged: float | None) -> Cell:
    if best is None or merged is None:
        return value(None, "")
    change = merged - best[1]
    glyph, look = ("▲", "better") if change > 0 else ("▼", "worse") if change < 0 else ("=", "unclear")
    return Cell(f"{glyph} {_fine(change)}", change, outcome=look)


def _fine(change: float) -> str:
    """With its sign; small changes, as those of accuracies, to three digits."""
    small = ("+" if change > 0 else "") + number(change)
    return small if abs(change) < 1 else signed(change)
