"""Tables by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..data import TableSpec, read_table

if TYPE_CHECKING:
    import polars as pl

SET = "set:"


def read(table: str) -> tuple[pl.DataFrame, TableSpec | None]:
    """``set:NAME`` -> the built-in set with its columns' roles; a path -> the file and ``None``."""
    if table.startswith(SET):
        from ..data import sets

        return sets.load(table.removeprefix(SET))
    return read_table(Path(table)), None
