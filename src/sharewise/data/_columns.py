"""The learned parts of a preprocessor: one record for each input, category and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ._convert import convert, numbers

DATE_PARTS = ("days", "month sin", "month cos", "weekday sin", "weekday cos", "hour sin", "hour cos")


@dataclass(frozen=True)
class NumberInput:
    """One number a model sees: ``part`` of ``column``, filled, centred, scaled and smoothly clipped.

    Args:
        part: ``value``, or for a date one of ``days`` (since 1970-01-01) and the cyclic ``month``,
            ``weekday`` and ``hour``, each as sine and cosine.
        fill: what a missing value becomes: the median of the training rows.
        loc, scale: the input is ``z / sqrt(1 + (z / 3)^2)`` with ``z = (value - loc) / scale``.
    """

    column: str
    kind: str
    part: str
    fill: float
    loc: float
    scale: float

    @property
    def name(self) -> str:
        """``age``, or ``born: month sin``."""
        return self.column if self.part == "value" else f"{self.column}: {self.part}"


@dataclass(frozen=True)
class CategoryInput:
    """One category a model sees, as a code.

    Args:
        values: code 1, 2, ... stand for these; 0 is missing or unknown.
        other: whether a last code stands for values that were rare in the training rows; values never seen
            there get it too.
    """

    column: str
    values: tuple[str, ...]
    other: bool

    @property
    def size(self) -> int:
        """Number of codes, 0 included."""
        return 1 + len(self.values) + self.other

    def encode(self, series: pl.Series) -> np.ndarray:
        """Codes, int64 ``[N]``."""
        text = convert(series, "category")
        known = text.cast(pl.Enum(self.values), strict=False).to_physical().cast(pl.Int64) + 1
        if self.other:
            last = pl.Series(values=[self.size - 1], dtype=pl.Int64)
            known = known.zip_with(known.is_not_null() | text.is_null(), last)
        return known.fill_null(0).to_numpy()


@dataclass(frozen=True)
class TargetCode:
    """How labels become numbers: ``loc`` and ``scale`` of a regression, ``classes`` in order otherwise."""

    name: str
    kind: str
    classes: tuple[Any, ...] = ()
    loc: float = 0.0
    scale: float = 1.0

    def encode(self, series: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Labels ``[N]`` (0 where there is none) and whether there is one, bool ``[N]``.

        float32 for regression and binary, int64 for classes. A class that no training row had is no label.
        """
        if self.kind == "regression":
            values = numbers(series)
            there = ~np.isnan(values)
            return np.where(there, values, 0.0).astype(np.float32), there
        if isinstance(self.classes[0], str):
            codes = convert(series, "category").cast(pl.Enum(self.classes), strict=False).to_physical()
        else:
            known = convert(series, "boolean" if isinstance(self.classes[0], bool) else "number")
            table = {float(c): i for i, c in enumerate(self.classes)}
            codes = known.replace_strict(table, default=None, return_dtype=pl.UInt32)
        dtype = pl.Float32 if self.kind == "binary" else pl.Int64
        return codes.fill_null(0).cast(dtype).to_numpy(), codes.is_not_null().to_numpy()


def number_parts(series: pl.Series, kind: str) -> dict[str, np.ndarray]:
    """Part name -> float64 ``[N]``, NaN where missing."""
    if kind != "date":
        return {"value": numbers(series, kind)}
    values = convert(series, kind)
    cycles = {
        "month": (values.dt.month() - 1).to_numpy() / 12,
        "weekday": (values.dt.weekday() - 1).to_numpy() / 7,
        "hour": (values.dt.hour().cast(pl.Float64) + values.dt.minute() / 60).to_numpy() / 24,
    }
    parts = {"days": values.dt.epoch("us").to_numpy() / 86_400e6}
    for name, turn in cycles.items():
        parts[f"{name} sin"], parts[f"{name} cos"] = np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)
    return parts
