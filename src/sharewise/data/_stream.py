"""Tables too big to hold: split and prepared from a sample, read in chunks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ._convert import exactly
from ._drift import find_drift
from ._inspect import build_schema, check_columns, check_roles, describe, used_columns
from ._leaks import same_targets
from ._learn import learn, learn_targets
from ._load import TableData, in_order, lost_classes, uneven, without_leaks
from ._parquet import ParquetSource, gather_rows
from ._preprocess import Preprocessor
from ._read import read_table
from ._source import Splits
from ._spec import TableSchema, TableSpec
from ._split import split_rows
from ._targets import inspect_targets

SAMPLE = 200_000
"""Training rows that kinds, leaks, fills, scales and vocabularies are found from."""

DRIFT_SAMPLE = 20_000


def load_stream(path: Path, spec: TableSpec, split_options: dict[str, Any], keep_leaks: bool) -> TableData:
    """:func:`load_splits` of a Parquet file that is never held whole.

    Targets, group, time and weight are read whole (they decide the split); features are learned from a random
    sample of at most 200,000 training rows. The refusals still look at every row.
    """
    lazy = read_table(path, lazy=True)
    columns = lazy.collect_schema().names()
    check_columns(columns, spec)
    roles = [c for c in (spec.group, spec.time, spec.weight) if c is not None]
    small = lazy.select(exactly([*spec.targets, *roles])).collect()
    check_roles(small, spec)
    used = used_columns(columns, spec)
    facts = describe(lazy.select(exactly(used)))
    targets, notes = inspect_targets(small.select(exactly(spec.targets)), spec)
    rows = split_rows(small, group=spec.group, time=spec.time, targets=spec.targets, **split_options)
    chosen = draw(rows.train, SAMPLE, 0)
    sample = gather_rows(path, chosen, used)
    schema = build_schema(sample, chosen, small.height, facts, spec, targets, notes)
    schema, leaks = without_leaks(sample, schema, keep_leaks)
    preprocessor = replace(learn(sample, schema), outputs=learn_targets(small[rows.train], schema))
    held_out = gather_rows(path, draw(rows.test, DRIFT_SAMPLE, 0), used)
    notes = [*schema.warnings, *find_drift(sample, held_out, schema), *same_targets(sample, schema)]
    notes += uneven(rows, spec, {part: split_options[part] for part in ("valid", "test")})
    notes += lost_classes(preprocessor, {"validation": small[rows.valid], "test": small[rows.test]})
    splits = Splits(*(ParquetSource(path, part, preprocessor) for part in (rows.train, rows.valid, rows.test)))
    warnings = in_order([leak.warning(keep_leaks) for leak in leaks] + notes)
    return TableData(splits, preprocessor, schema, warnings, small.height, rows, None, tuple(leaks))


def learn_parquet(path: Path, rows: np.ndarray, schema: TableSchema, sample: int, seed: int) -> Preprocessor:
    """See :meth:`Preprocessor.fit_parquet`."""
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    names = [t.name for t in schema.targets]
    part = gather_rows(path, draw(rows, sample, seed), [*(c.name for c in schema.features), *names])
    labels = part if len(part) == len(rows) else gather_rows(path, rows, names)
    return replace(learn(part, schema), outputs=learn_targets(labels, schema))


def draw(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` of ``rows`` at random, ascending; all if there are no more."""
    if len(rows) <= count:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
