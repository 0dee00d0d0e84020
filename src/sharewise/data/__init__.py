"""Where examples come from: tables, tensors, sources of one task each.

Names that need Polars are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._batch import Batch, map_tensors
from ._pertask import PerTaskSource, TaskReader
from ._replay import PerTaskReplay, Transitions
from ._source import LoaderSource, Source, Splits, TensorSource, epoch_generator
from ._spec import Column, TableSchema, TableSpec, TableWarning, Target

_LAZY = {
    "Leak": "_leaks",
    "ParquetSource": "_parquet",
    "Preprocessor": "_preprocess",
    "RowSplit": "_split",
    "TableData": "_load",
    "find_drift": "_drift",
    "find_leaks": "_leaks",
    "inspect_table": "_inspect",
    "load_splits": "_load",
    "per_task_tables": "_tables",
    "read_table": "_read",
    "set_apart": "_apart",
    "split_rows": "_split",
}

if TYPE_CHECKING:
    from . import sets
    from ._apart import set_apart
    from ._drift import find_drift
    from ._inspect import inspect_table
    from ._leaks import Leak, find_leaks
    from ._load import TableData, load_splits
    from ._parquet import ParquetSource
    from ._preprocess import Preprocessor
    from ._read import read_table
    from ._split import RowSplit, split_rows
    from ._tables import per_task_tables

__all__ = [
    "Batch",
    "Column",
    "Leak",
    "LoaderSource",
    "ParquetSource",
    "PerTaskReplay",
    "PerTaskSource",
    "Preprocessor",
    "RowSplit",
    "Source",
    "Splits",
    "TableData",
    "TableSchema",
    "TableSpec",
    "TableWarning",
    "Target",
    "TaskReader",
    "TensorSource",
    "Transitions",
    "epoch_generator",
    "find_drift",
    "find_leaks",
    "inspect_table",
    "load_splits",
    "map_tensors",
    "per_task_tables",
    "read_table",
    "set_apart",
    "sets",
    "split_rows",
]


def __getattr__(name: str) -> Any:
    if name == "sets":
        value: Any = importlib.import_module(".sets", __name__)
    elif name in _LAZY:
        value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
