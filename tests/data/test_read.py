"""Reading tables and refusing what is none."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from sharewise.data import read_table
from sharewise.errors import DataError

FRAME = pl.DataFrame({"a": [1, 2, None], "b": [0.5, None, 2.0], "c": ["x", "y, z", None], "d": [True, False, True]})


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "t.csv")
    FRAME.write_csv(tmp_path / "t.tsv", separator="\t")
    FRAME.write_csv(tmp_path / "semi.csv", separator=";")
    FRAME.write_parquet(tmp_path / "t.parquet")
    FRAME.write_ipc(tmp_path / "t.arrow")
    FRAME.write_ipc(tmp_path / "t.feather")
    FRAME.write_ndjson(tmp_path / "t.jsonl")
    for name in ("t.csv", "t.jsonl", "t.tsv"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 10
    for path in files:
        assert read_table(path).equals(FRAME), path.name
        assert read_table(path, lazy=True).collect().equals(FRAME), path.name


def test_missing_values_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,NA\n?,2.5\nnan,\n")
    assert read_table(path).equals(pl.DataFrame({"a": [1, None, None], "b": [None, 2.5, None]}))
    assert read_table({"a": [float("nan"), 1.0]})["a"].null_count() == 1


def test_a_type_that_changes_late_is_still_seen(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1\n" * 5_000 + "x\n")
    assert read_table(path)["a"].dtype == pl.String


def test_index_column_of_pandas_gets_a_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",a\n0,5\n1,6\n")
    assert read_table(path).columns == ["column_1", "a"]


def test_pandas_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, float("nan")]})
    expected = pl.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, None]})
    assert read_table(frame).equals(expected)
    frame.columns = ["a", "b", "a"]
    with pytest.raises(DataError, match='duplicate columns: "a"'):
        read_table(frame)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"a,b,a\n1,2,3\n", 'duplicate columns: "a" stands in columns 1 and 3'),
        ("t.tsv", b"a\ta\n1\t2\n", "duplicate columns"),
        ("t.jsonl", b'{"a": 1, "a": 2}\n', "duplicate columns"),
        ("t.csv", b"a,b\n", "no rows"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b" \n", "is empty"),
        ("t.csv", "a,b\n1,caf\u00e9\n".encode("latin-1"), "wrong encoding: byte 0xe9 on line 2 is not UTF-8"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0", "not a table: it holds binary data"),
        ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "its header names 2 columns"),
        ("t.csv", b"a,b\n1,2\n4,5,6\n", "its rows have another number of fields"),
        ("t.parquet", b"a,b\n1,2\n", "not a table in parquet format"),
        ("t.arrow", b"nothing", "not a table in ipc format"),
        ("t.jsonl", b"a,b\n1,2\n", "not JSON lines"),
        ("t.jsonl", b"[1, 2]\n", "line 1 is a list, expected an object"),
        ("t.csv.gz", b"a,b\n1,2\n", "cannot be read"),
        ("t.xlsx", b"PK", "expected .csv, .tsv, .jsonl"),
        ("t.parquet.gz", b"PK", "expected .csv, .tsv, .jsonl"),
    ],
)
def test_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r'no such file: .*did you mean "people.csv"\?'):
        read_table(tmp_path / "poeple.csv")
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="not a table: int"):
        read_table(3)


def test_truncated_parquet_and_one_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    FRAME.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a table in parquet format"):
        read_table(path)
    FRAME.head(0).write_parquet(path)
    with pytest.raises(DataError, match="no rows"):
        read_table(path)
