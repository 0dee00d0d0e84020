"""From a table to splits: nothing about the held-out rows may reach training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import TableData, TableSpec, TensorSource, load_splits
from sharewise.data.sets import simulate_table
from sharewise.errors import DataError

SPEC = TableSpec(("y1", "y2", "y3", "y4"))


def same(a: TableData, b: TableData) -> bool:
    """Whether both would train the very same model."""
    one, two = a.splits.train, b.splits.train
    assert isinstance(one, TensorSource) and isinstance(two, TensorSource)
    left, right = one.all, two.all
    return (
        a.preprocessor.to_json() == b.preprocessor.to_json()
        and [(t.name, t.loc, t.scale, t.classes) for t in a.preprocessor.tasks()]
        == [(t.name, t.loc, t.scale, t.classes) for t in b.preprocessor.tasks()]
        and all(torch.equal(left.inputs[k], right.inputs[k]) for k in left.inputs)
        and all(torch.equal(left.targets[k], right.targets[k]) for k in left.targets)
        and left.observed.keys() == right.observed.keys()
        and all(torch.equal(left.observed[k], right.observed[k]) for k in left.observed)
    )


def spoilt(frame: pl.DataFrame, rows: np.ndarray, seed: int) -> pl.DataFrame:
    """The table with every feature and label of ``rows`` changed, their types and gaps in labels kept."""
    rng = np.random.default_rng(seed)
    n = len(rows)
    new: dict[str, Any] = {f"x{i}": rng.normal(size=n) * 10.0 ** rng.integers(-3, 6) for i in range(1, 9)}
    new["x2"] = np.where(rng.random(n) < 0.5, np.nan, new["x2"])
    new["x3"] = np.full(n, 7.0)
    new["colour"] = np.array([f"new {i}" for i in rng.integers(0, n, n)])
    new["member"] = np.full(n, True)
    changed = frame[rows].with_columns(
        *(pl.Series(k, v).fill_nan(None) if k.startswith("x") else pl.Series(k, v) for k, v in new.items()),
        joined=pl.col("joined").dt.offset_by("900d"),
        y1=pl.col("y1") * 1e3 + 5,
        y2=pl.col("y2") - 1e4,
        y3=pl.when(pl.col("y3") == "no").then(pl.lit("yes")).when(pl.col("y3") == "yes").then(pl.lit("no")),
        y4=-pl.col("y4"),
    )
    whole = pl.concat(
        [
            frame.with_row_index("i").filter(~pl.col("i").is_in(rows.tolist())),
            changed.with_columns(pl.Series("i", rows, dtype=pl.get_index_type())).select("i", *frame.columns),
        ]
    )
    return whole.sort("i").drop("i")


@given(seed=st.integers(0, 1_000), rows=st.integers(150, 400), part=st.sampled_from(["test", "valid", "both"]))
@settings(max_examples=15, deadline=None)
def test_nothing_about_held_out_rows_reaches_training(seed: int, rows: int, part: str) -> None:
    frame = simulate_table(rows, 4, seed=seed)
    before = load_splits(frame, SPEC, seed=seed)
    ids = before.row_ids
    held_out = {"test": ids.test, "valid": ids.valid, "both": np.sort(np.concatenate([ids.test, ids.valid]))}[part]
    after = load_splits(spoilt(frame, held_out, seed), SPEC, seed=seed)
    assert np.array_equal(ids.train, after.row_ids.train)
    assert same(before, after)


def test_changed_test_rows_leave_the_trained_weights_as_they_are() -> None:
    from sharewise.train import fit_data

    def trained(frame: pl.DataFrame) -> dict[str, torch.Tensor]:
        data = load_splits(frame, SPEC, seed=1)
        return fit_data(data, seed=1, epochs=3, batch_size=32, progress=False).model.state_dict()

    frame = simulate_table(300, 4, seed=5)
    ids = load_splits(frame, SPEC, seed=1).row_ids
    whole = trained(frame)
    after = trained(spoilt(frame, ids.test, 0))
    assert all(torch.equal(after[k], v) for k, v in whole.items())
    other = trained(spoilt(frame, ids.train[:5], 0))
    assert any(k not in other or other[k].shape != v.shape or not torch.equal(other[k], v) for k, v in whole.items())


def test_training_rows_do_reach_training() -> None:
    frame = simulate_table(300, 4)
    before = load_splits(frame, SPEC)
    after = load_splits(spoilt(frame, before.row_ids.train[:40], 0), SPEC)
    assert not same(before, after)


def test_a_leak_only_in_test_rows_changes_nothing() -> None:
    frame = simulate_table(400, 4)
    before = load_splits(frame, SPEC)
    test = pl.Series(np.isin(np.arange(400), before.row_ids.test))
    leaky = frame.with_columns(x4=pl.when(test & pl.col("y1").is_not_null()).then("y1").otherwise("x4"))
    assert same(before, load_splits(leaky, SPEC))


def test_groups_and_time_and_roles() -> None:
    frame = simulate_table(400, 4).with_columns(site=pl.int_range(400) // 20, when=pl.int_range(400) * 3 % 400)
    by_group = load_splits(frame, TableSpec(SPEC.targets, group="site", drop=("when",)))
    sites = [set(by_group.part(p)["site"]) for p in ("train", "valid", "test")]
    assert not (sites[0] & sites[1] or sites[0] & sites[2] or sites[1] & sites[2])
    by_time = load_splits(frame, TableSpec(SPEC.targets, time="when", drop=("site",)))
    assert by_time.part("train")["when"].max() < by_time.part("valid")["when"].min()  # type: ignore[operator]
    assert by_time.part("valid")["when"].max() < by_time.part("test")["when"].min()  # type: ignore[operator]
    for data in (by_group, by_time):
        assert not {"site", "when"} & set(data.preprocessor.columns)


def test_parts_and_arrays_agree_with_the_sources() -> None:
    data = load_splits(simulate_table(300, 4), SPEC, seed=3)
    assert data.rows == 300
    for name in ("train", "valid", "test"):
        features, mask = data.arrays(name)
        assert len(features) == len(getattr(data.splits, name)) == len(data.part(name))
        assert features.shape[1] == len(mask)
    with pytest.raises(DataError, match='no part is called "dev"'):
        data.part("dev")


def test_classes_seen_only_outside_training_are_warned_about() -> None:
    frame = simulate_table(400, 1).with_columns(kind=pl.Series(["a", "b"] * 200))
    rows = load_splits(frame, TableSpec(("y1", "kind"))).row_ids
    rare = pl.Series(np.isin(np.arange(400), rows.test[:5]))
    frame = frame.with_columns(kind=pl.when(rare).then(pl.lit("c")).otherwise("kind"))
    data = load_splits(frame, TableSpec(("y1", "kind"), {"kind": "multiclass"}))
    assert data.preprocessor.outputs[1].classes == ("a", "b")
    assert any('5 test labels of target "kind" are of a class no training row has' in w.text for w in data.warnings)


def test_parts_far_from_their_share_are_warned_about() -> None:
    frame = simulate_table(400, 4).with_columns(site=pl.Series([0] * 340 + [1] * 20 + [2] * 20 + [3] * 20))
    texts = [w.text for w in load_splits(frame, TableSpec(SPEC.targets, group="site")).warnings if w.column == "site"]
    assert any("20% were wanted: groups or times are too large" in t for t in texts)
    even = frame.with_columns(site=pl.int_range(400) // 4)
    assert not [w for w in load_splits(even, TableSpec(SPEC.targets, group="site")).warnings if w.column == "site"]


def test_only_parquet_streams(tmp_path: Path) -> None:
    simulate_table(100, 4).write_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match="cannot be streamed, only Parquet can"):
        load_splits(tmp_path / "t.csv", SPEC, stream=True)
    with pytest.raises(DataError, match="only a Parquet file"):
        load_splits(simulate_table(100, 4), SPEC, stream=True)


ODD = ["count", "*", "", "literal", "<script>alert(1)</script>", "a.b", "len", 'ünï \' "q"', "value", "rows", "0n"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("role", ["x2", "colour", "y1", "y3", "group"])
def test_names_that_mean_something_to_others(name: str, role: str, tmp_path: Path) -> None:
    frame = simulate_table(300, 3, features=3).with_columns(group=pl.int_range(300) // 10).rename({role: name})
    spec = TableSpec(
        tuple(name if t == role else t for t in ("y1", "y2", "y3")), group=name if role == "group" else None
    )
    data = load_splits(frame, spec)
    assert (name in data.preprocessor.columns) is (role in ("x2", "colour"))
    frame.write_parquet(tmp_path / "t.parquet")
    streamed = load_splits(tmp_path / "t.parquet", spec, stream=True)
    assert streamed.preprocessor == data.preprocessor
    assert len(next(iter(streamed.splits.train.batches(8)))) == 8


def test_a_name_polars_takes_for_a_pattern_is_refused() -> None:
    with pytest.raises(DataError, match="takes for a pattern: rename it"):
        load_splits(simulate_table(100, 4).rename({"x1": "^x.*$"}), SPEC)


def test_infinite_values_in_columns_that_are_not_used_do_not_matter() -> None:
    frame = simulate_table(300, 4).with_columns(bad=pl.lit(float("inf")))
    with pytest.raises(DataError, match='"bad" holds an infinite value in row 1'):
        load_splits(frame, SPEC)
    assert "bad" not in load_splits(frame, TableSpec(SPEC.targets, drop=("bad",))).preprocessor.columns
