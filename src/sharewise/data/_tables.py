"""One table for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from ..errors import DataError, nearest
from ._load import TableData, load_splits
from ._pertask import PerTaskSource
from ._read import read_table
from ._source import Source, Splits
from ._spec import TableSpec


def per_task_tables(
    tables: Mapping[str, Any],
    *,
    mix: str | float = "proportional",
    kinds: Mapping[str, str] | None = None,
    group: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    drop: Sequence[str] = (),
    **options: Any,
) -> TableData:
    """Each task its own table: different rows, different numbers of rows, one model.

    Args:
        tables: target column -> the table (path or frame) that has its labels.
        mix: how often each is drawn from, see :class:`PerTaskSource`.
        kinds, group, time, weight, drop: see :class:`TableSpec`; a column named here is in every table.
        options: ``seed``, ``valid``, ``test``, ``keep_leaks``, ``rolling`` of :func:`load_splits`.

    The tables are put under each other: features of the same name are the same feature, one that a table does
    not have is missing there, and a label counts only in the table of its task. The splits are
    :class:`PerTaskSource`, so ``mix`` holds for training only; one preprocessor serves all tasks.

    Raises :class:`DataError` where a table lacks its target or columns do not go together.
    """
    spec = TableSpec(tuple(tables), kinds or {}, group, time, weight, tuple(drop))
    parts = []
    for task, table in tables.items():
        frame = read_table(table)
        if task not in frame.columns:
            raise DataError(f'the table of task "{task}" has no column of that name; {nearest(task, frame.columns)}')
        parts.append(frame.drop([t for t in tables if t != task], strict=False))
    try:
        whole = pl.concat(parts, how="diagonal_relaxed")
    except PolarsError as error:
        raise DataError(f"the tables do not go together: {str(error).splitlines()[0]}") from None
    data = load_splits(whole, spec, stream=False, **options)
    owner = np.repeat(np.arange(len(parts)), [p.height for p in parts])
    return replace(data, splits=_divided(data, owner, tuple(tables), mix))


def _divided(data: TableData, owner: np.ndarray, tasks: tuple[str, ...], mix: str | float) -> Splits:
    made = []
    for name in ("train", "valid", "test"):
        frame, of_row = data.part(name), owner[getattr(data.row_ids, name)]
        sources: dict[str, Source] = {}
        for number, task in enumerate(tasks):
            rows = np.flatnonzero(of_row == number)
            if not len(rows):
                raise DataError(f'no {name} rows of the table of task "{task}": choose other shares or more rows')
            sources[task] = data.preprocessor.source(frame[rows])
        made.append(PerTaskSource(sources, mix))
    return Splits(*made)
