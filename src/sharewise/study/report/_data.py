"""The table the study was made on: rows, splits, targets and columns."""

from __future__ import annotations

from ...page import Column, Row, Table, clean, count, label, plus_minus, share, value
from ..results import StudyResult

MOST = 500
"""Columns listed; with more, those with the most missing values come first."""


def splits(result: StudyResult) -> list[tuple[str, str, str]]:
    """(name, rows, share of all rows) of each split."""
    names = {"train": "training", "valid": "validation", "test": "test"}
    total = result.data.rows or 1
    return [(names.get(k, clean(k)), count(n), share(n / total)) for k, n in result.data.splits.items()]


def targets_table(result: StudyResult) -> Table:
    """What was to be predicted."""
    columns = [
        Column("Task", numeric=False),
        Column("Kind", numeric=False),
        Column("Labels"),
        Column("Missing"),
        Column("Metric", numeric=False),
        Column("Better", numeric=False),
        Column("Without features", note="always predicting the mean or the class shares"),
        Column("Classes", numeric=False),
    ]
    rows = []
    for t in result.tasks:
        shown = ", ".join(clean(c) for c in t.classes[:12]) + (f", … ({len(t.classes)})" if len(t.classes) > 12 else "")
        better = "higher" if t.higher_is_better else "lower"
        cells = [label(clean(t.name)), label(clean(t.kind)), value(t.labels, count(t.labels))]
        cells += [value(t.missing, share(t.missing)), label(clean(t.metric)), label(better)]
        cells += [value(t.baseline, plus_minus(t.baseline, None)), label(shown or "–")]
        rows.append(Row(cells))
    return Table("targets", "The tasks", columns, rows)


def columns_table(result: StudyResult) -> Table:
    """What it was predicted from."""
    columns = [
        Column("Column", numeric=False),
        Column("Kind", numeric=False),
        Column("Missing"),
        Column("Distinct values"),
    ]
    chosen = result.data.columns
    if len(chosen) > MOST:
        chosen = sorted(chosen, key=lambda c: -c.missing)[:MOST]
    rows = []
    for c in chosen:
        distinct = None if c.distinct is None else float(c.distinct)
        cells = [label(clean(c.name)), label(clean(c.kind)), value(c.missing, share(c.missing))]
        rows.append(Row([*cells, value(distinct, count(distinct))]))
    return Table("columns", "The feature columns", columns, rows)
