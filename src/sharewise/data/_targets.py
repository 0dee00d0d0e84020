"""What kind of task each target column makes, and whether it can be learned at all."""

from __future__ import annotations

from typing import Any

import polars as pl

from ..errors import TaskError
from ._convert import commonest, convert, plain
from ._spec import TableSpec, TableWarning, Target

MIN_LABELS = 30
"""A target with fewer labels than this is refused: it could not even be tested."""

TINY = 200
"""A target with fewer labels than this is warned about."""

RARE_CLASS = 20
"""A class with fewer labels than this is warned about."""


def inspect_targets(frame: pl.DataFrame, spec: TableSpec) -> tuple[tuple[Target, ...], list[TableWarning]]:
    """Kind, labels and classes of every target of ``frame`` (which needs the target columns only).

    Raises :class:`TaskError` for a target that is constant, has fewer than 30 labels, or does not fit its
    kind.
    """
    targets, warnings = [], []
    for name in spec.targets:
        target = _inspect(frame[name], spec.kinds.get(name))
        targets.append(target)
        warnings += _warn(frame[name], target)
    return tuple(targets), warnings


def _inspect(series: pl.Series, override: str | None) -> Target:
    name, dtype = series.name, series.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object) or dtype.is_temporal():
        raise TaskError(f'target "{name}" holds {dtype}: a target is a number, a class or yes/no')
    labels = len(series) - series.null_count()
    if labels < MIN_LABELS:
        raise TaskError(f'target "{name}" has {labels} labels, at least {MIN_LABELS} are needed: add some or drop it')
    values = series.drop_nulls().unique()
    if len(values) < 2:
        raise TaskError(
            f'target "{name}" is constant: every label is {values[0]!r}, that is, one class; there is nothing to learn'
        )
    kind = _kind(series, override, len(values))
    missing = series.null_count() / len(series)
    if kind == "regression":
        return Target(name, kind, labels, missing)
    return Target(name, kind, labels, missing, class_order(series))


def _kind(series: pl.Series, override: str | None, distinct: int) -> str:
    name, numeric = series.name, series.dtype.is_numeric()
    labels = len(series) - series.null_count()
    kind = override or ("binary" if distinct == 2 else "regression" if numeric else "multiclass")
    if kind == "regression" and not numeric:
        if series.dtype == pl.Boolean:
            return kind
        convert(series, "number")
    if kind == "binary" and distinct != 2:
        raise TaskError(f'target "{name}" has {distinct} distinct values, a binary task has 2: use multiclass')
    if kind == "multiclass" and distinct > 20 and distinct * 5 > labels:
        remedy = "use regression" if numeric else "choose another target or join its classes"
        raise TaskError(
            f'target "{name}" has {distinct} classes for {labels} labels, fewer than 5 each: it looks like '
            f"free text or an identifier; {remedy}"
        )
    return kind


def class_order(series: pl.Series) -> tuple[Any, ...]:
    """Classes of a target, sorted: numbers by value, text alphabetically, ``False`` before ``True``."""
    present = series.drop_nulls()
    if present.dtype == pl.Boolean:
        return tuple(sorted(present.unique().to_list()))
    if present.dtype.is_numeric():
        return tuple(plain(v) for v in sorted(present.cast(pl.Float64).unique().to_list()))
    return tuple(sorted(convert(present, "category").unique().to_list()))


def _warn(series: pl.Series, target: Target) -> list[TableWarning]:
    found = []
    if target.labels < TINY:
        text = f'target "{target.name}" has {target.labels} labels only: expect wide intervals'
        found.append(TableWarning("tiny task", target.name, text))
    if target.classes:
        few = [(n, value) for value, n in reversed(commonest(convert(series, "category"))) if n < RARE_CLASS]
        if few:
            shown = ", ".join(f'"{value}" ({n})' for n, value in few[:5]) + (", ..." if len(few) > 5 else "")
            text = f'target "{target.name}" has classes with fewer than {RARE_CLASS} labels: {shown}'
            found.append(TableWarning("tiny task", target.name, text))
    return found
