"""Splits whose parts do not look alike."""

from __future__ import annotations

import numpy as np
import polars as pl

from ._convert import commonest, convert, numbers
from ._spec import TableSchema, TableWarning

_MOST_ROWS = 50_000
_EFFECT = 0.1
_LEVEL = 0.001


def find_drift(train: pl.DataFrame, test: pl.DataFrame, schema: TableSchema) -> list[TableWarning]:
    """A warning for each feature or target that is distributed differently in training and test rows.

    Numbers and dates: two-sample Kolmogorov-Smirnov; categories: chi-squared of the 50 commonest values, the
    rest together. A column is named where p < 0.001 after Bonferroni's correction over the columns *and* the
    difference is large: KS distance, or Cramer's V, above 0.1; so many rows alone raise no alarm. Missing
    values are a category, and for numbers their shares are compared as well.
    """
    kinds = {c.name: c.kind for c in schema.features}
    kinds |= {t.name: "number" if t.kind == "regression" else "category" for t in schema.targets}
    train, test = (f.sample(_MOST_ROWS, seed=0) if f.height > _MOST_ROWS else f for f in (train, test))
    found = []
    for name, kind in kinds.items():
        effect, p, how = _compare(train[name], test[name], kind)
        if effect > _EFFECT and p * len(kinds) < _LEVEL:
            text = f'column "{name}" differs between training and test rows ({how} {effect:.2f})'
            found.append(TableWarning("drift", name, text))
    return found


def _compare(train: pl.Series, test: pl.Series, kind: str) -> tuple[float, float, str]:
    if kind == "category":
        return *_chi_squared(*_codes(convert(train, kind), convert(test, kind))), "Cramer's V"
    a, b = numbers(train, kind), numbers(test, kind)
    gone_a, gone_b = np.isnan(a), np.isnan(b)
    if gone_a.any() or gone_b.any():
        gaps = _chi_squared(gone_a.astype(np.int64), gone_b.astype(np.int64))
        if gaps[0] > _EFFECT:
            return *gaps, "missing values, Cramer's V"
        a, b = a[~gone_a], b[~gone_b]
    if min(len(a), len(b)) < 20:
        return 0.0, 1.0, ""
    from scipy.stats import ks_2samp

    result = ks_2samp(a, b, method="asymp")
    return float(result.statistic), float(result.pvalue), "Kolmogorov-Smirnov distance"


def _codes(a: pl.Series, b: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the 50 commonest values of both, one number for the rest."""
    both = pl.concat([a, b]).fill_null("\0")
    code = {value: i for i, (value, _) in enumerate(commonest(both)[:50])}
    codes = both.replace_strict(code, default=len(code), return_dtype=pl.Int64).to_numpy()
    return codes[: len(a)], codes[len(a) :]


def _chi_squared(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    from scipy.stats import chi2_contingency

    most = int(max(a.max(initial=0), b.max(initial=0))) + 1
    table = np.stack([np.bincount(part, minlength=most) for part in (a, b)])
    table = table[:, table.sum(0) >= 10]
    if table.shape[1] < 2 or (table.sum(1) == 0).any():
        return 0.0, 1.0
    result = chi2_contingency(table, correction=False)
    return float(np.sqrt(result.statistic / table.sum())), float(result.pvalue)
