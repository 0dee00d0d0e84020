"""Tables by name or path, and their splits under a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..data import TableData, TableSpec, load_splits, read_table
from ._plan import Plan

if TYPE_CHECKING:
    import polars as pl

SET = "set:"


def read(table: str) -> tuple[pl.DataFrame, TableSpec | None]:
    """``set:NAME`` -> the built-in set with its columns' roles; a path -> the file and ``None``."""
    if table.startswith(SET):
        from ..data import sets

        return sets.load(table.removeprefix(SET))
    return read_table(Path(table)), None


def split(plan: Plan, frame: pl.DataFrame, seed: int) -> TableData:
    """The table under one seed's split, in memory."""
    return load_splits(
        frame,
        plan.table_spec(),
        seed=seed,
        valid=plan.valid,
        test=plan.test,
        keep_leaks=plan.keep_leaks,
        stream=False,
    )
