"""From a table to training, validation and test examples, in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import DataError
from ._convert import exactly
from ._drift import find_drift
from ._inspect import build_schema, check_columns, check_roles, describe, used_columns
from ._leaks import Leak, find_leaks, same_targets
from ._preprocess import Preprocessor
from ._read import file_format, read_table
from ._source import Splits
from ._spec import TableSchema, TableSpec, TableWarning
from ._split import RowSplit, split_rows
from ._targets import inspect_targets

STREAM_FROM = 20_000_000
"""A Parquet file of more values (rows x columns) than this is streamed unless asked otherwise."""


@dataclass(frozen=True)
class TableData:
    """A table, split and prepared.

    Args:
        splits: training, validation and test examples.
        preprocessor: learned on the training rows.
        schema: what the table holds; its features are those used, leaks excepted.
        warnings: leaks, tiny tasks, drift and the rest, worst first.
        rows: rows of the table.
        row_ids: which of them are in which part.
        frame: the table, or ``None`` where it is streamed.
        leaks: features that give a target away.
    """

    splits: Splits
    preprocessor: Preprocessor
    schema: TableSchema
    warnings: tuple[TableWarning, ...]
    rows: int
    row_ids: RowSplit
    frame: pl.DataFrame | None
    leaks: tuple[Leak, ...] = ()

    def part(self, name: str) -> pl.DataFrame:
        """The rows of ``train``, ``valid`` or ``test``, as they stand in the table (in memory only)."""
        if name not in ("train", "valid", "test"):
            raise DataError(f'no part is called "{name}": expected train, valid or test')
        if self.frame is None:
            raise DataError("the table is streamed and not held in memory: load it with stream=False")
        return self.frame[getattr(self.row_ids, name)]

    def arrays(self, name: str) -> tuple[np.ndarray, list[bool]]:
        """Features of a part for gradient-boosted trees, see :meth:`Preprocessor.arrays`."""
        return self.preprocessor.arrays(self.part(name))


def load_splits(
    table: Any,
    spec: TableSpec,
    *,
    seed: int = 0,
    valid: float = 0.2,
    test: float = 0.2,
    keep_leaks: bool = False,
    stream: bool | None = None,
    rolling: bool = True,
) -> TableData:
    """Read, check, split and prepare a table.

    Args:
        table: a path or frame, see :func:`read_table`.
        seed, valid, test, rolling: see :func:`split_rows`; group and time are the specification's.
        keep_leaks: use features that predict a target almost perfectly; otherwise they are left out of the
            features of *all* tasks. Either way each is warned about.
        stream: read a Parquet file in chunks, never whole; ``None`` decides by its size (20 million values).

    Kinds of targets and the refusals look at the whole table. Everything a model sees is decided by the
    training
    rows: which columns are features and of which kind, leaks, fills, scales, vocabularies, classes.

    Raises :class:`DataError` and :class:`TaskError` for everything that cannot be learned from.
    """
    split_options = {"seed": seed, "valid": valid, "test": test, "rolling": rolling}
    if _streams(table, stream):
        from ._stream import load_stream

        return load_stream(Path(table), spec, split_options, keep_leaks)
    frame = read_table(table)
    check_columns(frame.columns, spec)
    check_roles(frame, spec)
    facts = describe(frame.select(exactly(used_columns(frame.columns, spec))))
    targets, notes = inspect_targets(frame.select(exactly(spec.targets)), spec)
    rows = split_rows(frame, group=spec.group, time=spec.time, targets=spec.targets, **split_options)  # type: ignore[arg-type]
    train, held_out = frame[rows.train], frame[rows.test]
    schema = build_schema(train, rows.train, frame.height, facts, spec, targets, notes)
    schema, leaks = without_leaks(train, schema, keep_leaks)
    preprocessor = Preprocessor.fit(train, schema)
    parts = {"validation": frame[rows.valid], "test": held_out}
    notes = [*schema.warnings, *find_drift(train, held_out, schema), *same_targets(train, schema)]
    notes += uneven(rows, spec, {"valid": valid, "test": test})
    warnings = in_order([leak.warning(keep_leaks) for leak in leaks] + notes + lost_classes(preprocessor, parts))
    splits = Splits(*(preprocessor.source(part) for part in (train, *parts.values())))
    return TableData(splits, preprocessor, schema, warnings, frame.height, rows, frame, tuple(leaks))


def without_leaks(train: pl.DataFrame, schema: TableSchema, keep: bool) -> tuple[TableSchema, list[Leak]]:
    """The schema without the features that give a target away in the training rows, and these."""
    from dataclasses import replace

    leaks = find_leaks(train, schema)
    gone = set() if keep else {leak.column for leak in leaks}
    if not gone:
        return schema, leaks
    features = tuple(c for c in schema.features if c.name not in gone)
    if not features:
        raise DataError(
            f"every feature gives a target away ({', '.join(sorted(gone))}): add other features, or keep "
            "these knowingly with keep_leaks=True (--keep-leaks)"
        )
    dropped = {**schema.dropped, **dict.fromkeys(gone, "likely leak")}
    return replace(schema, features=features, dropped=dropped), leaks


def lost_classes(preprocessor: Preprocessor, parts: dict[str, pl.DataFrame]) -> list[TableWarning]:
    """A warning where a part has labels of a class that no training row has."""
    found = []
    for code in preprocessor.outputs:
        for part, frame in parts.items():
            series = frame[code.name]
            lost = len(series) - series.null_count() - int(code.encode(series)[1].sum())
            if lost:
                text = f'{lost} {part} labels of target "{code.name}" are of a class no training row has: not used'
                found.append(TableWarning("other", code.name, text))
    return found


def uneven(rows: RowSplit, spec: TableSpec, wanted: dict[str, float]) -> list[TableWarning]:
    """A warning where large groups or equal times gave a part less than half, or more than twice, its share."""
    found, sizes = [], rows.sizes()
    for part, share in wanted.items():
        got = sizes[part] / sum(sizes.values())
        if not share / 2 <= got <= share * 2 and sizes[part] > 1:
            text = f"the {part} part has {got:.0%} of the rows, {share:.0%} were wanted: groups or times are too large"
            found.append(TableWarning("other", spec.group or spec.time or "", text))
    return found


def in_order(warnings: list[TableWarning]) -> tuple[TableWarning, ...]:
    """Worst first: leaks, tiny tasks, drift, others."""
    order = ("leak", "tiny task", "drift", "other")
    return tuple(sorted(warnings, key=lambda w: order.index(w.kind)))


def _streams(table: Any, stream: bool | None) -> bool:
    if not isinstance(table, str | Path) or stream is False:
        if stream:
            raise DataError("only a Parquet file can be streamed: give its path")
        return False
    parquet = file_format(Path(table)) == "parquet"
    if stream and not parquet:
        raise DataError(f'"{table}" cannot be streamed, only Parquet can: convert it, or load it with stream=False')
    if stream or not parquet:
        return bool(stream)
    frame = read_table(table, lazy=True)
    return frame.select(pl.len()).collect().item() * len(frame.collect_schema()) > STREAM_FROM
