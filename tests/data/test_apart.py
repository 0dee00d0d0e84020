"""Training rows set apart: a share, by the seed, whole groups, in memory and streamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharewise.data import TableSpec, load_splits, set_apart
from sharewise.data.sets import simulate_table
from sharewise.errors import DataError


def frame() -> pl.DataFrame:
    """200 rows of 40 households."""
    return simulate_table(200, targets=2, seed=0).with_columns((pl.int_range(200) // 5).alias("house"))


def test_a_share_of_the_training_rows_alone() -> None:
    data = load_splits(frame(), TableSpec(("y1", "y2")), seed=1)
    left, apart = set_apart(data, 0.1, seed=3)
    assert (len(left.splits.train), len(apart)) == (108, 12)
    assert set(left.row_ids.train) < set(data.row_ids.train)
    assert left.splits.valid is data.splits.valid and left.splits.test is data.splits.test
    rows = np.setdiff1d(data.row_ids.train, left.row_ids.train)
    want = data.preprocessor.source(data.frame[rows]).all
    found = apart.all
    assert all((found.inputs[k] == want.inputs[k]).all() for k in want.inputs)
    assert all((found.targets[k] == want.targets[k]).all() for k in want.targets)
    again, other = (set_apart(data, 0.1, seed=seed)[0].row_ids.train for seed in (3, 4))
    assert (again == left.row_ids.train).all() and (other != left.row_ids.train).any()


@pytest.mark.parametrize("streamed", [False, True])
def test_groups_stay_together(streamed: bool, tmp_path: Path) -> None:
    table = frame()
    table.write_parquet(tmp_path / "t.parquet")
    given = tmp_path / "t.parquet" if streamed else table
    data = load_splits(given, TableSpec(("y1", "y2"), group="house"), seed=1, stream=streamed or None)
    left, apart = set_apart(data, 0.2, seed=0)
    rows = np.setdiff1d(data.row_ids.train, left.row_ids.train)
    assert len(apart) == len(rows) == 25  # of 120 rows in households of 5: 24 wanted
    assert not set(table["house"][rows]) & set(table["house"][left.row_ids.train])
    targets = next(apart.batches(100)).targets["y1"]
    assert np.allclose(np.sort(targets), np.sort(table["y1"][rows].fill_null(0)))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan"), 0.001, 0.999])
def test_shares_that_leave_nothing(share: float) -> None:
    data = load_splits(frame(), TableSpec(("y1", "y2")), seed=1)
    with pytest.raises(DataError, match=r"must lie between 0 and 1|one side would have none"):
        set_apart(data, share)
