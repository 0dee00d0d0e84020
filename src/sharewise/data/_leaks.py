"""Features that give a target away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from ._convert import convert, numbers
from ._spec import TableSchema, TableWarning

_MOST_ROWS = 20_000
_PERFECT = 0.999
_MIN_ROWS = 30
_MIN_REPEATS = 20
_MIN_ERRORS = 10
"""A feature can only be called perfect where guessing the commonest class makes at least so many mistakes."""


@dataclass(frozen=True)
class Leak:
    """A feature that predicts a target (almost) perfectly all by itself.

    Args:
        score: share of the target's variance (regression) or of the mistakes of always guessing the commonest
            class (classes) that the feature takes away; 1 is perfect.
    """

    column: str
    target: str
    score: float
    how: str

    def warning(self, kept: bool = False) -> TableWarning:
        """The leak as a warning that says what was done about it."""
        done = "it is used because leaks are to be kept" if kept else "it is left out of the features"
        text = (
            f'column "{self.column}" predicts target "{self.target}" almost perfectly ({self.how}): likely a '
            f"leak, {done}"
        )
        return TableWarning("leak", self.column, text)


def find_leaks(frame: pl.DataFrame, schema: TableSchema) -> list[Leak]:
    """Each feature of ``schema`` that predicts a target with R2 > 0.999 or takes away > 99.9 % of the
    mistakes.

    Give it training rows only: what is found decides what a model sees. Looked at, per feature and target, on
    at most 20,000 rows that have a label:

    - regression from numbers: a straight line, or any monotone curve (R2 of ranks);
    - regression from categories (and from numbers with few values): a mean for each category;
    - classes from numbers: few intervals, each of one class (a tree of at most twice as many leaves as
      classes; missing values have their own side);
    - classes from categories: each category (missing is one) has one class.

    A value that stands only once proves nothing, so identifiers raise no alarm. A feature that legitimately
    separates the classes does: only its owner can tell. Cost: one sort a feature, O(rows) a pair.
    """
    if frame.height > _MOST_ROWS:
        frame = frame[np.sort(np.random.default_rng(0).permutation(frame.height)[:_MOST_ROWS])]
    labels = {t.name: _labels(frame[t.name], t.kind) for t in schema.targets}
    kinds = {t.name: t.kind for t in schema.targets}
    found = []
    for column in schema.features:
        measure = _measurer(frame[column.name], column.kind)
        for target, values in labels.items():
            score, how = measure(values, kinds[target] == "regression")
            if score > _PERFECT:
                found.append(Leak(column.name, target, score, how))
    return found


def same_targets(frame: pl.DataFrame, schema: TableSchema) -> list[TableWarning]:
    """A warning for each pair of targets that are (almost) the same thing."""
    found = []
    for i, first in enumerate(schema.targets):
        kind = "number" if first.kind == "regression" else "category"
        measure = _measurer(frame[first.name], kind)
        for second in schema.targets[i + 1 :]:
            if (first.kind == "regression") != (second.kind == "regression"):
                continue
            score, how = measure(_labels(frame[second.name], second.kind), second.kind == "regression")
            if score > _PERFECT:
                text = f'targets "{first.name}" and "{second.name}" are almost the same ({how})'
                found.append(TableWarning("other", second.name, text))
    return found


def _labels(series: pl.Series, kind: str) -> np.ndarray:
    """Labels as float64 with NaN where missing; classes as codes."""
    if kind == "regression":
        return numbers(series)
    codes = convert(series, "category").rank("dense")
    return codes.cast(pl.Float64).to_numpy()


Measure = Callable[[np.ndarray, bool], tuple[float, str]]


def _measurer(series: pl.Series, kind: str) -> Measure:
    if kind == "category":
        codes = convert(series, "category").rank("dense").fill_null(0).to_numpy().astype(np.int64)
        return lambda y, numeric: _from_groups(codes, y, numeric)
    values = numbers(series, kind)
    order = np.argsort(values, kind="stable")  # missing values last
    codes = np.empty(len(values), dtype=np.int64)
    codes[order] = np.cumsum(np.diff(values[order], prepend=np.nan) != 0)  # missing values each their own ...
    codes[np.isnan(values)] = 0  # ... and then one
    few = int(codes.max(initial=0)) <= 100 and len(codes) >= 5 * int(codes.max(initial=0))

    def measure(y: np.ndarray, numeric: bool) -> tuple[float, str]:
        best = _from_numbers(values, order, y) if numeric else _from_intervals(values, order, y)
        return max(best, _from_groups(codes, y, numeric)) if few else best

    return measure


def _from_numbers(x: np.ndarray, order: np.ndarray, y: np.ndarray) -> tuple[float, str]:
    order = order[~(np.isnan(y[order]) | np.isnan(x[order]))]
    if len(order) < _MIN_ROWS:
        return 0.0, ""
    a, b = x[order], y[order]
    line = _correlation(a, b) ** 2
    if line > _PERFECT:
        return line, f"R2 {line:.4f} of a straight line"
    half = len(b) // 2
    rise, fall = np.mean(b[half:] >= b[: len(b) - half]), np.mean(b[half:] <= b[: len(b) - half])
    if max(rise, fall) < 0.98:  # values half the rows apart are in order wherever ranks agree
        return line, ""
    from scipy.stats import rankdata

    curve = _correlation(rankdata(a), rankdata(b)) ** 2
    return curve, f"R2 {curve:.4f} of ranks"


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _from_groups(codes: np.ndarray, y: np.ndarray, numeric: bool) -> tuple[float, str]:
    """Only groups with at least two labels count."""
    keep = ~np.isnan(y)
    codes, y = codes[keep], y[keep]
    counts = np.bincount(codes)
    keep = counts[codes] > 1 if len(codes) else np.zeros(0, dtype=bool)
    codes, y = codes[keep], y[keep]
    if len(y) < _MIN_ROWS:
        return 0.0, ""
    groups, codes = np.unique(codes, return_inverse=True)
    if len(groups) < 2:
        return 0.0, ""
    if not numeric:
        return _purity(codes, len(groups), y)
    total = ((y - y.mean()) ** 2).sum()
    if len(y) - len(groups) < _MIN_REPEATS or total == 0:
        return 0.0, ""
    means = np.bincount(codes, y) / np.bincount(codes)
    score = 1 - ((y - means[codes]) ** 2).sum() / total
    return float(score), f"R2 {score:.4f} of the means of its {len(groups)} values"


def _purity(codes: np.ndarray, groups: int, y: np.ndarray) -> tuple[float, str]:
    classes, label = np.unique(y, return_inverse=True)
    table = np.bincount(codes * len(classes) + label, minlength=groups * len(classes)).reshape(groups, -1)
    errors = len(y) - int(table.max(1).sum())
    guess = len(y) - int(table.sum(0).max())
    if guess < _MIN_ERRORS:
        return 0.0, ""
    return (
        1 - errors / guess,
        f"{errors} mistakes in {len(y)} rows, each of its {groups} values has one class",
    )


def _from_intervals(x: np.ndarray, order: np.ndarray, y: np.ndarray) -> tuple[float, str]:
    order = order[~np.isnan(y[order])]
    label = y[order]
    classes, counts = np.unique(label, return_counts=True)
    guess = len(label) - int(counts.max()) if len(label) else 0
    if len(label) < _MIN_ROWS or guess < _MIN_ERRORS:
        return 0.0, ""
    leaves = 2 * len(classes)
    # a mistake adds at most two changes of class to those between the leaves
    if int((np.diff(label) != 0).sum()) > leaves + 2 * (1 - _PERFECT) * guess + 1:
        return 0.0, ""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=3, random_state=0)
    column = x[order].reshape(-1, 1).astype(np.float64)
    errors = int((tree.fit(column, label).predict(column) != label).sum())
    return 1 - errors / guess, f"{errors} mistakes in {len(label)} rows from at most {leaves} intervals"
