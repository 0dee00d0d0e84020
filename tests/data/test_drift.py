"""Parts of a split that do not look alike."""

from __future__ import annotations

import numpy as np
import polars as pl

from sharewise.data import TableSpec, find_drift, inspect_table, load_splits


def table(n: int, seed: int, shift: float = 0.0, red: float = 0.5, gone: float = 0.1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = pl.Series("x", rng.normal(size=n) + shift)
    frame = pl.DataFrame({"x": x, "z": rng.normal(size=n), "c": np.where(rng.random(n) < red, "red", "blue")})
    frame = frame.with_columns(z=pl.when(pl.Series(rng.random(n) >= gone)).then(pl.col("z")))
    return frame.with_columns(y=pl.Series(rng.normal(size=n)))


SCHEMA = inspect_table(table(500, 0), TableSpec(("y",)))


def drifted(train: pl.DataFrame, test: pl.DataFrame) -> set[str]:
    return {w.column for w in find_drift(train, test, SCHEMA)}


def test_each_kind_of_drift_is_named() -> None:
    train = table(2_000, 0)
    assert drifted(train, table(500, 1, shift=0.5)) == {"x"}
    assert drifted(train, table(500, 1, red=0.8)) == {"c"}
    assert drifted(train, table(500, 1, gone=0.5)) == {"z"}
    assert drifted(train, table(500, 1).with_columns(pl.col("y") * 3)) == {"y"}


def test_no_false_alarm() -> None:
    for seed in range(30):
        assert drifted(table(600, seed), table(200, seed + 1_000)) == set()


def test_many_columns_raise_no_more_alarms_than_few() -> None:
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=900) for i in range(2_000)}
    frame = pl.DataFrame(columns | {"y": rng.normal(size=900)})
    schema = inspect_table(frame, TableSpec(("y",)))
    assert find_drift(frame.head(600), frame.tail(300), schema) == []


def test_many_rows_alone_raise_no_alarm() -> None:
    assert drifted(table(60_000, 0), table(60_000, 1, shift=0.05, red=0.52)) == set()


def test_a_split_by_time_of_something_that_grows() -> None:
    n = 1_000
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"t": np.arange(n), "x": np.arange(n) / 100 + rng.normal(size=n), "y": rng.normal(size=n)})
    warned = [w for w in load_splits(frame, TableSpec(("y",), time="t")).warnings if w.kind == "drift"]
    assert [w.column for w in warned] == ["x"]
    assert "Kolmogorov-Smirnov" in warned[0].text
