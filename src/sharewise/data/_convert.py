"""A column of any type as numbers, text, truth values or moments: the same when fitting and when
predicting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from ..errors import DataError

_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}
_MOMENTS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f")


def convert(series: pl.Series, kind: str) -> pl.Series:
    """The column as its kind needs it: ``number``, ``boolean`` -> Float64; ``category`` -> String; ``date``
    -> Datetime in microseconds (UTC). Missing values stay missing.

    Raises :class:`DataError` that names the column and the first value (with its row) that does not fit.
    """
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        raise DataError(f'column "{series.name}" holds {series.dtype}, which cannot be read as a {kind}: drop it')
    return {"number": _numbers, "boolean": _flags, "category": _text, "date": _moments}[kind](series)


def numbers(series: pl.Series, kind: str = "number") -> np.ndarray:
    """A number, boolean or date column as float64 ``[N]``, NaN where missing; dates in microseconds."""
    if kind == "date":
        return convert(series, kind).to_physical().cast(pl.Float64).to_numpy()
    if (kind == "number" and (series.dtype.is_float() or series.dtype.is_integer())) or series.dtype == pl.Boolean:
        return series.to_numpy().astype(np.float64, copy=False)
    return convert(series, kind).to_numpy()


def _numbers(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype == pl.Time:
        return series.cast(pl.Int64).cast(pl.Float64) / 1e9
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        series = series.str.strip_chars()
    if series.dtype in (pl.Date, pl.Datetime):
        raise DataError(f'column "{series.name}" holds dates, expected numbers: give it the kind date or drop it')
    return _checked(series, series.cast(pl.Float64, strict=False), "number").fill_nan(None)


def _flags(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Boolean:
        return series.cast(pl.Float64)
    text = _text(series).str.to_lowercase()
    table = dict.fromkeys(_TRUE, 1.0) | dict.fromkeys(_FALSE, 0.0)
    return _checked(
        series,
        text.replace_strict(table, default=None, return_dtype=pl.Float64),
        "boolean (yes/no, true/false, 1/0)",
    )


def _text(series: pl.Series) -> pl.Series:
    """Whole numbers are written without a decimal point, whether they are stored as integers or floats."""
    if series.dtype.is_float() or series.dtype.is_decimal():
        series = series.cast(pl.Float64).fill_nan(None)
        whole = series.is_null() | ((series == series.round(0)) & (series.abs() < 2**53))
        if whole.all():
            series = series.cast(pl.Int64)
    return series.cast(pl.String)


def _moments(series: pl.Series) -> pl.Series:
    if series.null_count() == len(series):
        return pl.Series(series.name, [None] * len(series), dtype=pl.Datetime("us"))
    if isinstance(series.dtype, pl.Datetime):
        if series.dtype.time_zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return series.cast(pl.Datetime("us"))
    if series.dtype == pl.Date:
        return series.cast(pl.Datetime("us"))
    if series.dtype == pl.String:
        parsed = [series.str.to_datetime(f, strict=False, time_unit="us") for f in _MOMENTS]
        best = min(parsed, key=lambda s: s.null_count())
        return _checked(series, best, "date in ISO form, as in 2024-05-31 or 2024-05-31 12:00:00")
    raise DataError(f'column "{series.name}" holds {series.dtype}, expected dates')


def is_moments(series: pl.Series) -> bool:
    """Whether a text column holds dates in ISO form and nothing else."""
    head = series.drop_nulls().head(50)
    if head.is_empty():
        return False
    try:
        _moments(head)
        _moments(series)
    except DataError:
        return False
    return True


def _checked(before: pl.Series, after: pl.Series, expected: str) -> pl.Series:
    if after.null_count() > before.null_count():
        row = int((after.is_null() & before.is_not_null()).arg_true()[0])
        raise DataError(
            f'column "{before.name}" holds {before[row]!r} in row {row + 1}, which is no {expected}: '
            "correct it, leave it empty, or drop the column"
        )
    return after


def exactly(names: Iterable[str]) -> cs.Selector:
    """These columns and no others, in the order of the table: ``*`` and ``^...$`` are names like any other."""
    return cs.by_name(*names)


def commonest(series: pl.Series) -> list[tuple[str, int]]:
    """Distinct values of a text column with their numbers, commonest first, ties alphabetically."""
    counts = series.alias("value").drop_nulls().value_counts(name="rows")
    return sorted(counts.iter_rows(), key=lambda pair: (-pair[1], pair[0]))


def plain(value: Any) -> Any:
    """A class as JSON can hold it: text, truth value, whole number or float."""
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return str(value)
