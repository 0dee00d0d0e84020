"""What a table holds: refuse what cannot be learned from, infer the kinds of the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..errors import DataError, TaskError, nearest
from ._convert import convert, exactly, is_moments
from ._read import read_table
from ._spec import Column, TableSchema, TableSpec, TableWarning
from ._targets import inspect_targets

_IDENTIFIER = re.compile(r"(^|[^A-Za-z])(id|ID|Id|key|Key|uuid|UUID|guid|GUID)$|[a-z](ID|Id)$")
_NO_NUMBER = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class Found:
    """Facts of one column over the whole table."""

    nulls: int
    distinct: int | None


def inspect_table(table: Any, spec: TableSpec, *, rows: np.ndarray | None = None) -> TableSchema:
    """Infer what each column is; refuse what cannot be learned from.

    Args:
        table: a path or frame, see :func:`read_table`.
        rows: training rows. Which columns are features, and of which kind, is then decided from these rows
            alone, so that no other row can change what a model sees; counts are still of the whole table.

    Numbers, booleans and dates are features as they stand; text is a category, unless it has so many distinct
    values that it must be free text or an identifier (more than 20, and fewer than 4 rows each): that is left
    out with a warning, as are row counters, whole numbers named like an identifier of which each stands once, and
    nested columns. Targets: two distinct values -> ``binary``,
    other numbers -> ``regression``, other text -> ``multiclass``; :attr:`TableSpec.kinds` overrides.

    Raises:
        TaskError: an unknown target, a constant one, one with fewer than 30 labels.
        DataError: another unknown column, infinite values, unusable group or weight, no feature left.
    """
    frame = read_table(table)
    check_columns(frame.columns, spec)
    check_roles(frame, spec)
    facts = describe(frame.select(exactly(used_columns(frame.columns, spec))))
    targets, warnings = inspect_targets(frame.select(exactly(spec.targets)), spec)
    seen = frame if rows is None else frame[rows]
    numbers = np.arange(frame.height) if rows is None else rows
    return build_schema(seen, numbers, frame.height, facts, spec, targets, warnings)


def check_columns(columns: list[str], spec: TableSpec) -> None:
    """Raise where the specification names a column that the table does not have."""
    for target in spec.targets:
        if target not in columns:
            raise TaskError(f'unknown target "{target}": the table has no such column; {nearest(target, columns)}')
    named = {"group": [spec.group], "time": [spec.time], "weight": [spec.weight], "drop": spec.drop}
    named["kind"] = list(spec.kinds)
    for role, names in named.items():
        for name in names:
            if name is not None and name not in columns:
                raise DataError(
                    f'unknown {role} column "{name}": the table has no such column; {nearest(name, columns)}'
                )


def used_columns(columns: list[str], spec: TableSpec) -> list[str]:
    """Features, targets and weight: all but what is dropped or only splits."""
    return [c for c in columns if spec.roles.get(c) not in ("dropped", "group", "time")]


def check_roles(frame: pl.DataFrame, spec: TableSpec) -> None:
    """Raise where group, time or weight cannot be used; only these columns need to be in ``frame``."""
    for role in ("group", "time"):
        name = getattr(spec, role)
        if name is None:
            continue
        gaps = frame[name].null_count()
        if gaps:
            raise DataError(f'{role} column "{name}" has {gaps} missing values: fill them or remove these rows')
        if frame[name].n_unique() < 2:
            what = "one group only" if role == "group" else "one moment only"
            raise DataError(f'{role} column "{name}" holds {what}: a split by {role} needs several')
    if spec.weight is not None:
        check_weight(frame[spec.weight])


def check_weight(series: pl.Series) -> None:
    """Raise where example weights are missing, negative, infinite or all zero."""
    name, values = series.name, convert(series, "number")
    for bad, what in (
        (values.is_null(), "is missing"),
        (values < 0, "is negative"),
        (values.is_infinite(), "is infinite"),
    ):
        row = bad.fill_null(False).arg_true()
        if len(row):
            raise DataError(f'weight column "{name}" {what} in row {row[0] + 1}: weights are numbers >= 0')
    if float(values.sum()) == 0.0:
        raise DataError(f'weight column "{name}" is zero everywhere: at least one row must count')


def describe(frame: pl.DataFrame | pl.LazyFrame) -> dict[str, Found]:
    """Facts of each column over all rows; raises :class:`DataError` at the first infinite value.

    Of a ``LazyFrame``, which is not held, distinct values are estimated.
    """
    if isinstance(frame, pl.DataFrame):
        return {series.name: _found(frame, series) for series in frame}
    schema = frame.collect_schema()
    wanted: dict[str, pl.Expr] = {}
    for i, (name, dtype) in enumerate(schema.items()):
        column = exactly([name]).as_expr()
        wanted[f"{i}n"] = column.null_count()
        if dtype.is_nested() or dtype in (pl.Object, pl.Binary, pl.Null):
            continue
        wanted[f"{i}d"] = column.approx_n_unique()
        if dtype.is_float():
            wanted[f"{i}i"] = column.is_infinite().any()
    row = frame.select(**wanted).collect(engine="streaming").row(0, named=True)
    for i, name in enumerate(schema):
        if row.get(f"{i}i"):
            refuse_infinite(frame, name)
    return {name: Found(row[f"{i}n"], row.get(f"{i}d")) for i, name in enumerate(schema)}


def _found(frame: pl.DataFrame, series: pl.Series) -> Found:
    if series.dtype.is_float() and np.isinf(series.to_numpy()).any():
        refuse_infinite(frame, series.name)
    nulls = series.null_count()
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary, pl.Null):
        return Found(nulls, None)
    return Found(nulls, series.n_unique() - (nulls > 0))


def refuse_infinite(frame: pl.DataFrame | pl.LazyFrame, name: str) -> None:
    """Raise :class:`DataError` naming the first row of ``name`` that holds an infinite value."""
    flags = frame.lazy().select(exactly([name]).is_infinite().fill_null(False)).collect()[name]
    raise DataError(
        f'column "{name}" holds an infinite value in row {int(flags.arg_true()[0]) + 1}: correct it, leave '
        "it empty to mark it as missing, or drop the column"
    )


def build_schema(
    seen: pl.DataFrame,
    numbers: np.ndarray,
    height: int,
    facts: dict[str, Found],
    spec: TableSpec,
    targets: Any,
    warnings: list[TableWarning],
) -> TableSchema:
    """The schema, with features decided from the rows ``seen``, whose row numbers are ``numbers``."""
    features, dropped, notes = [], dict(spec.roles), list(warnings)
    for name in seen.columns:
        if name in dropped:
            continue
        kind, reason = feature_kind(seen[name], spec.kinds.get(name), numbers)
        if kind is None:
            dropped[name] = reason
            if reason != "constant":
                notes.append(TableWarning("other", name, f'column "{name}" is not used: {reason}'))
            continue
        fact = facts[name]
        features.append(Column(name, kind, fact.nulls / height, fact.distinct))
    if not features:
        constant = [c for c, why in dropped.items() if why == "constant"]
        what = "all features are constant" if constant else "no feature is left beside the targets"
        raise DataError(f"{what}: the table needs at least one column, other than targets, whose values differ")
    return TableSchema(height, tuple(features), targets, spec, dropped, tuple(notes))


def feature_kind(series: pl.Series, override: str | None, numbers: np.ndarray) -> tuple[str | None, str]:
    """Kind of a feature column, or ``None`` and why it is none."""
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        return None, f"it holds {series.dtype}, not single values"
    present = series.drop_nulls()
    if present.is_empty() or (present.n_unique() < 2 and len(present) == len(series)):
        return None, "constant"
    if override is not None:
        convert(series, override)
        return override, ""
    if series.dtype == pl.Boolean:
        return "boolean", ""
    if series.dtype == pl.Date or isinstance(series.dtype, pl.Datetime):
        return "date", ""
    if series.dtype not in _NO_NUMBER:
        if series.dtype.is_integer() and _counts_rows(series, numbers):
            return None, "it only counts the rows"
        if series.dtype.is_integer() and _IDENTIFIER.search(series.name) and present.is_unique().all():
            return None, "by its name and its values, each of which stands once, it is an identifier"
        return "number", ""
    if series.dtype == pl.String and is_moments(series):
        return "date", ""
    distinct = present.n_unique()
    if distinct > 20 and distinct * 4 > len(present):
        return (
            None,
            f"it looks like free text or an identifier ({distinct} distinct values in {len(present)} rows)",
        )
    return "category", ""


def _counts_rows(series: pl.Series, numbers: np.ndarray) -> bool:
    if series.null_count() or len(series) < 3:
        return False
    return bool((np.diff(series.to_numpy()) == np.diff(numbers)).all())
