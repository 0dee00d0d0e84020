"""Learning a preprocessor from training rows."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..errors import DataError, TaskError
from ._columns import CategoryInput, NumberInput, TargetCode, number_parts
from ._convert import commonest, convert
from ._preprocess import Preprocessor, squash
from ._spec import Column, TableSchema, Target
from ._targets import class_order

MAX_BINS = 48
MAX_CATEGORIES = 1_000


def learn(frame: pl.DataFrame, schema: TableSchema) -> Preprocessor:
    """See :meth:`Preprocessor.fit`."""
    if frame.height == 0:
        raise DataError("no training rows: nothing can be learned from an empty table")
    numbers, edges, indicators, categories = [], [], [], []
    for column in schema.features:
        series = frame[column.name]
        if column.kind == "category":
            category = _category(series)
            if category is not None:
                categories.append(category)
            continue
        parts = number_parts(series, column.kind)
        gaps = np.isnan(next(iter(parts.values())))
        if gaps.any() and not gaps.all():
            indicators.append(column.name)
        for part, values in parts.items():
            number = _number(column, part, values[~gaps])
            if number is not None:
                numbers.append(number)
                edges.append(_edges(number, values))
    if not numbers and not categories and not indicators:
        raise DataError("all features are constant in the training rows: nothing can be learned from them")
    found = learn_targets(frame, schema)
    return Preprocessor(tuple(numbers), tuple(indicators), tuple(categories), found, schema.spec.weight, tuple(edges))


def learn_targets(frame: pl.DataFrame, schema: TableSchema) -> tuple[TargetCode, ...]:
    """Means, scales and classes of the training labels in ``frame``."""
    return tuple(_target(frame[t.name], t) for t in schema.targets)


def _number(column: Column, part: str, values: np.ndarray) -> NumberInput | None:
    if len(values) == 0 or values.min() == values.max():
        return None
    low, middle, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    if "sin" in part or "cos" in part:
        return NumberInput(column.name, column.kind, part, middle, 0.0, 1.0)
    scale = high - low
    if scale == 0:
        scale = float(values.max() - values.min()) / 2
    return NumberInput(column.name, column.kind, part, middle, middle, scale)


def _edges(number: NumberInput, values: np.ndarray) -> tuple[float, ...]:
    encoded = squash(np.where(np.isnan(values), number.fill, values), number.loc, number.scale)
    quantiles = np.quantile(encoded.astype(np.float64), np.linspace(0, 1, MAX_BINS + 1))
    return tuple(float(e) for e in np.unique(quantiles))


def _category(series: pl.Series) -> CategoryInput | None:
    text = convert(series, "category")
    least = min(10, max(2, len(series) // 100))
    table = commonest(text)
    kept = [value for value, n in table if n >= least][:MAX_CATEGORIES]
    category = CategoryInput(series.name, tuple(kept), len(kept) < len(table))
    return category if len(np.unique(category.encode(series))) > 1 else None


def _target(series: pl.Series, target: Target) -> TargetCode:
    if target.kind == "regression":
        values = convert(series, "number").drop_nulls().to_numpy()
        scale = float(values.std()) if len(values) else 0.0
        if scale == 0:
            raise TaskError(f'target "{target.name}" is constant in the training rows: split differently or drop it')
        return TargetCode(target.name, target.kind, (), float(values.mean()), scale)
    classes = class_order(series)
    if len(classes) < 2:
        raise TaskError(
            f'target "{target.name}" has {len(classes)} class in the training rows, two are needed: split '
            "differently or drop it"
        )
    return TargetCode(target.name, target.kind, classes)
