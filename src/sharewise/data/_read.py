"""Reading tables: CSV, TSV, Parquet, Arrow IPC, JSON lines."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

import polars as pl
import polars.selectors as cs
from polars.exceptions import PolarsError

from ..errors import DataError

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"]
"""How a missing value may be written in CSV and TSV."""

_EXPECTED = "expected .csv, .tsv, .jsonl (each also .gz), .parquet, .arrow or .feather"


@overload
def read_table(table: Any, *, lazy: Literal[False] = False) -> pl.DataFrame: ...
@overload
def read_table(table: Any, *, lazy: Literal[True]) -> pl.LazyFrame: ...
def read_table(table: Any, *, lazy: bool = False) -> pl.DataFrame | pl.LazyFrame:
    """A table from a file, told by its ending, or from a frame.

    Args:
        table: path of a ``.csv``, ``.tsv``, ``.jsonl`` (each also ``.gz``), ``.parquet``, ``.arrow`` or
            ``.feather`` file; or a Polars frame, a pandas frame, or a mapping of columns.
        lazy: give a ``LazyFrame``; Parquet and Arrow files are then not read yet.

    NaN becomes a missing value. In CSV and TSV so do empty fields and NA, N/A, NaN, null and ``?``; the
    separator of a ``.csv`` may also be a semicolon, a tab or ``|``.

    Raises:
        DataError: no such file, a folder, not a table, not UTF-8, no rows, duplicate columns.
    """
    if isinstance(table, str | Path):
        path = Path(table)
        kind = file_format(path)
        if kind in ("parquet", "ipc"):
            scan = _scan(path, kind)
            frame: pl.DataFrame | pl.LazyFrame = scan if lazy else _collect(scan, path)
        else:
            frame = _read_text(path, kind)
        name = f'"{path}"'
    else:
        frame, name = _from_memory(table), "the table"
    for column in frame.collect_schema():
        if column.startswith("^") and column.endswith("$"):
            raise DataError(f'{name} has a column "{column}", which Polars takes for a pattern: rename it')
    frame = frame.with_columns(cs.float().fill_nan(None))
    if isinstance(frame, pl.DataFrame):
        if frame.width == 0 or frame.height == 0:
            raise DataError(f"{name} has no rows: a table needs a header and at least one row of values")
        return frame.lazy() if lazy else frame
    return frame if lazy else frame.collect()


def file_format(path: Path) -> str:
    """``csv``, ``tsv``, ``parquet``, ``ipc`` or ``jsonl``; raises :class:`DataError` for anything else."""
    if path.is_dir():
        raise DataError(f'"{path}" is a folder: give the table file inside it')
    if not path.exists():
        raise DataError(f'no such file: "{path}"{_similar(path)}')
    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    ending = suffixes[-2:-1] if packed else suffixes[-1:]
    kind = FORMATS.get(ending[0] if ending else "")
    if kind is None or (packed and kind in ("parquet", "ipc")):
        raise DataError(f'"{path}" is not a table I can read by its ending {path.suffix!r}: {_EXPECTED}')
    return kind


def _similar(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f' (nor is there a folder "{path.parent}")'
    close = difflib.get_close_matches(path.name, (p.name for p in path.parent.iterdir()), n=1, cutoff=0.7)
    return f': did you mean "{close[0]}"?' if close else ""


def _reason(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]


def _scan(path: Path, kind: str) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path) if kind == "parquet" else pl.scan_ipc(path)
        columns = frame.collect_schema().names()
        rows = frame.select(pl.len()).collect().item()
    except (PolarsError, OSError) as error:
        if "duplicate" in str(error).lower():
            raise DataError(f'"{path}" has duplicate columns: give each its own name ({_reason(error)})') from None
        raise DataError(f'"{path}" is not a table in {kind} format: {_reason(error)}') from None
    if not columns or rows == 0:
        raise DataError(f'"{path}" has no rows: a table needs at least one')
    return frame


def _collect(frame: pl.LazyFrame, path: Path) -> pl.DataFrame:
    try:
        return frame.collect()
    except (PolarsError, OSError) as error:
        raise DataError(f'"{path}" is damaged and cannot be read to its end: {_reason(error)}') from None


def _read_text(path: Path, kind: str) -> pl.DataFrame:
    content = _bytes(path)
    if kind == "jsonl":
        _check_json(path, content)
    else:
        names, separator = _header(path, content, kind)
    try:
        if kind == "jsonl":
            return pl.read_ndjson(content, infer_schema_length=None)
        return pl.read_csv(
            content,
            has_header=False,
            skip_lines=1,
            new_columns=names,
            separator=separator,
            null_values=MISSING,
            infer_schema_length=None,
        )
    except PolarsError as error:
        if "empty" in str(error).lower() or "no data" in str(error).lower():
            raise DataError(f'"{path}" has no rows: only a header was found') from None
        if "new_columns" in str(error):
            raise DataError(
                f'"{path}" is not a table: its header names {len(names)} columns, but its rows have another '
                "number of fields; check the separator and the quotes"
            ) from None
        raise DataError(f'"{path}" is not a table in {kind} format: {_reason(error)}') from None


def _bytes(path: Path) -> bytes:
    """The file's bytes, unpacked; raises :class:`DataError` where they are no UTF-8 text."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f'"{path}" cannot be read: {_reason(error)}') from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DataError(f'"{path}" is empty: a table needs a header and at least one row of values')
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f'"{path}" has the wrong encoding (UTF-16): save it as UTF-8')
    if b"\0" in content[:65536]:
        raise DataError(f'"{path}" is not a table: it holds binary data, not text')
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f'"{path}" has the wrong encoding: byte 0x{content[error.start]:02x} on line {line} is not '
            f"UTF-8; "
            "save it as UTF-8 (it may be Latin-1 or Windows-1252)"
        ) from None
    return content


def _header(path: Path, content: bytes, kind: str) -> tuple[list[str], str]:
    """Column names and separator. Read here because Polars renames duplicates without a word."""
    line = content.split(b"\n", 1)[0].decode("utf-8").rstrip("\r")
    separator = "\t" if kind == "tsv" else ","
    names = next(csv.reader([line], delimiter=separator), [])
    if kind == "csv" and len(names) < 2:
        for other in (";", "\t", "|"):
            split = next(csv.reader([line], delimiter=other), [])
            if len(split) > len(names):
                names, separator = split, other
    # pandas writes its index under an empty name
    names = [n if n else f"column_{i + 1}" for i, n in enumerate(names)]
    _check_duplicates(path, names)
    return names, separator


def _check_duplicates(path: Path, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if name in seen:
            raise DataError(
                f'"{path}" has duplicate columns: "{name}" stands in columns {seen[name]} and {position}; '
                "rename or remove one"
            )
        seen[name] = position


def _check_json(path: Path, content: bytes) -> None:
    first = content.lstrip().split(b"\n", 1)[0]
    pairs: list[str] = []

    def collect(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = [k for k, _ in found]
        return dict(found)

    try:
        value = json.loads(first, object_pairs_hook=collect)
    except ValueError as error:
        raise DataError(f'"{path}" is not JSON lines (one object a line): {_reason(error)}') from None
    if not isinstance(value, dict):
        raise DataError(f'"{path}" is not JSON lines: line 1 is a {type(value).__name__}, expected an object')
    _check_duplicates(path, pairs)


def _from_memory(table: Any) -> pl.DataFrame | pl.LazyFrame:
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return table
    try:
        if isinstance(table, Mapping):
            return pl.DataFrame(dict(table), strict=False)
        if type(table).__module__.split(".")[0] == "pandas" and hasattr(table, "columns"):
            return from_pandas(table)
    except (PolarsError, TypeError, ValueError) as error:
        raise DataError(f"the table cannot be read: {_reason(error)}") from None
    raise DataError(f"not a table: {type(table).__name__}; expected a path, a Polars or pandas frame, or a mapping")


def from_pandas(table: Any) -> pl.DataFrame:
    """A Polars frame from a pandas one, without pyarrow; the index is left out."""
    names = [str(c) for c in table.columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(f'the table has duplicate columns: "{twice[0]}"; rename or remove one')
    columns = {}
    for position, name in enumerate(names):
        series = table.iloc[:, position]
        if series.dtype.kind in "iufbM":
            columns[name] = pl.Series(name, series.to_numpy())
        else:
            values = [None if missing else v for v, missing in zip(series, series.isna(), strict=True)]
            columns[name] = pl.Series(name, values, strict=False)
    return pl.DataFrame(columns)
