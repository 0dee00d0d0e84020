"""Examples from a Parquet file that is never held whole."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import ParquetSource, Preprocessor, Source, TableSpec, inspect_table, load_splits
from sharewise.data.sets import simulate_table
from sharewise.errors import DataError

ROWS = 500
SPEC = TableSpec(("y1", "y2", "y3"), weight="w")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("parquet") / "t.parquet"
    frame = simulate_table(ROWS, 3).with_columns(number=pl.int_range(ROWS), w=pl.int_range(ROWS) % 5 + 1)
    frame.write_parquet(found, row_group_size=90)
    return found


@pytest.fixture(scope="module")
def preprocessor(path: Path) -> Preprocessor:
    frame = pl.read_parquet(path)
    return Preprocessor.fit(frame, inspect_table(frame, SPEC))


def numbers(source: ParquetSource, size: int, **options: int) -> list[list[float]]:
    """The labels of ``y1``, which tell the rows apart."""
    return [b.targets["y1"].tolist() for b in source.batches(size, shuffle=True, **options)]


def test_in_order_it_equals_the_table_in_memory(path: Path, preprocessor: Preprocessor) -> None:
    rows = np.sort(np.random.default_rng(0).permutation(ROWS)[:333])
    streamed = ParquetSource(path, rows, preprocessor, chunk_rows=64)
    assert isinstance(streamed, Source) and len(streamed) == 333
    held = preprocessor.source(pl.read_parquet(path)[rows])
    for a, b in zip(streamed.batches(50), held.batches(50), strict=True):
        assert all(torch.equal(a.inputs[k], b.inputs[k]) for k in a.inputs)
        assert all(torch.equal(a.targets[k], b.targets[k]) for k in a.targets)
        assert all(torch.equal(a.mask(k), b.mask(k)) for k in a.targets)
        assert a.weight is not None and b.weight is not None and torch.equal(a.weight, b.weight)


@given(
    st.integers(1, 200), st.integers(1, 7), st.integers(1, 160), st.integers(0, 9), st.booleans(), st.integers(1, ROWS)
)
@settings(max_examples=30, deadline=None)
def test_shuffled_every_row_comes_once_and_continuing_changes_nothing(
    path: Path,
    preprocessor: Preprocessor,
    chunk: int,
    buffers: int,
    size: int,
    start: int,
    prefetch: bool,
    count: int,
) -> None:
    rows = np.sort(np.random.default_rng(count).permutation(ROWS)[:count])
    options = {"chunk_rows": max(chunk, 20), "buffer_chunks": buffers}
    source = ParquetSource(path, rows, preprocessor, prefetch=prefetch, **options)
    whole = numbers(source, size, seed=1, epoch=2)
    assert [len(b) for b in whole[:-1]] == [size] * (len(whole) - 1)
    expected = preprocessor.source(pl.read_parquet(path)[rows]).all.targets["y1"]
    assert sorted(v for b in whole for v in b) == sorted(expected.tolist())
    fresh = ParquetSource(path, rows, preprocessor, prefetch=not prefetch, **options)
    assert numbers(fresh, size, seed=1, epoch=2, start=start) == whole[start:]


def test_order_is_a_function_of_seed_and_epoch(path: Path, preprocessor: Preprocessor) -> None:
    source = ParquetSource(path, None, preprocessor, chunk_rows=50, buffer_chunks=3)
    orders = {str(numbers(source, 32, seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def test_earlier_buffers_are_not_read(path: Path, preprocessor: Preprocessor, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ParquetSource(path, None, preprocessor, chunk_rows=50, buffer_chunks=2, prefetch=False)
    read: list[int] = []
    original = source._load
    monkeypatch.setattr(source, "_load", lambda chunks: read.append(len(chunks)) or original(chunks))
    assert len(list(source.batches(20, shuffle=True, start=20))) == 5
    assert sum(read) == 2  # of 10 chunks


def test_leaving_early_ends_the_reading_thread(path: Path, preprocessor: Preprocessor) -> None:
    before = threading.active_count()
    walk = ParquetSource(path, None, preprocessor, chunk_rows=50).batches(10, shuffle=True)
    next(walk)
    walk.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_while_reading_reaches_the_caller(path: Path, preprocessor: Preprocessor, tmp_path: Path) -> None:
    broken = tmp_path / "t.parquet"
    content = bytearray(path.read_bytes())
    source_file = broken
    source_file.write_bytes(content)
    source = ParquetSource(source_file, None, preprocessor, chunk_rows=50)
    stamp = source._stamp
    content[200:3_000] = b"\xff" * 2_800
    source_file.write_bytes(content)
    with pytest.raises(DataError, match="has changed since it was opened"):
        list(source.batches(10))
    source._stamp = source._file_stamp()
    assert source._stamp != stamp
    with pytest.raises(DataError, match="damaged"):
        list(source.batches(10))
    source_file.unlink()
    with pytest.raises(DataError, match="is gone"):
        list(source.batches(10))


def test_refused(path: Path, preprocessor: Preprocessor) -> None:
    with pytest.raises(DataError, match="row number 500 is not among them"):
        ParquetSource(path, np.array([3, 500]), preprocessor)
    with pytest.raises(DataError, match="1 or more"):
        ParquetSource(path, None, preprocessor, chunk_rows=0)


def test_streamed_and_held_tables_are_prepared_alike(path: Path) -> None:
    held, streamed = load_splits(path, SPEC, stream=False), load_splits(path, SPEC, stream=True)
    assert streamed.frame is None and held.frame is not None
    assert streamed.preprocessor == held.preprocessor
    assert streamed.warnings == held.warnings
    for name in ("train", "valid", "test"):
        assert np.array_equal(getattr(streamed.row_ids, name), getattr(held.row_ids, name))
        a, b = (next(iter(getattr(d.splits, name).batches(999))) for d in (streamed, held))
        assert all(torch.equal(a.inputs[k], b.inputs[k]) for k in a.inputs)
    assert [(c.name, c.kind, c.missing) for c in streamed.schema.features] == [
        (c.name, c.kind, c.missing) for c in held.schema.features
    ]
    with pytest.raises(DataError, match="is streamed and not held"):
        streamed.arrays("train")


def test_streamed_refusals_look_at_every_row(tmp_path: Path) -> None:
    values = np.zeros(ROWS)
    values[:3] = (1.0, 2.0, np.inf)
    simulate_table(ROWS, 3).with_columns(bad=pl.Series(values)).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match='column "bad" holds an infinite value in row 3'):
        load_splits(tmp_path / "t.parquet", TableSpec(("y1",)), stream=True)


def test_a_sample_of_features_and_all_labels(path: Path) -> None:
    frame = pl.read_parquet(path)
    schema, rows = inspect_table(frame, SPEC), np.arange(0, ROWS, 2)
    exact = Preprocessor.fit_parquet(path, rows, schema)
    assert exact == Preprocessor.fit(frame[rows], schema)
    sampled = Preprocessor.fit_parquet(path, rows, schema, sample=100)
    assert sampled != exact and sampled.outputs == exact.outputs
    assert sampled == Preprocessor.fit_parquet(path, rows, schema, sample=100)
