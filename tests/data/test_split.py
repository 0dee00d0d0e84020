"""Splits by rows, groups and time."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data import RowSplit, split_rows
from sharewise.errors import DataError, TaskError


def check_partition(split: RowSplit, rows: int) -> None:
    parts = (split.train, split.valid, split.test)
    assert all(p.dtype == np.int64 and len(p) for p in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))


@given(st.integers(3, 500), st.integers(0, 2**31), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
@settings(max_examples=60, deadline=None)
def test_random_rows(rows: int, seed: int, valid: float, test: float) -> None:
    split = split_rows(rows, seed=seed, valid=valid, test=test)
    check_partition(split, rows)
    again = split_rows(rows, seed=seed, valid=valid, test=test)
    assert all(np.array_equal(getattr(split, p), getattr(again, p)) for p in ("train", "valid", "test"))
    if rows >= 50:
        assert abs(len(split.test) - test * rows) <= 1
        assert abs(len(split.valid) - valid * rows) <= 1


def test_seeds_differ() -> None:
    assert not np.array_equal(split_rows(100, seed=0).test, split_rows(100, seed=1).test)


@given(st.lists(st.integers(0, 12), min_size=20, max_size=200).filter(lambda g: len(set(g)) > 2), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_group_on_two_sides(groups: list[int], seed: int) -> None:
    frame = pl.DataFrame({"g": groups})
    split = split_rows(frame, seed=seed, group="g")
    check_partition(split, len(groups))
    of = [set(np.array(groups)[p]) for p in (split.train, split.valid, split.test)]
    assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])


def test_group_shares_come_near() -> None:
    groups = np.repeat(np.arange(40), np.random.default_rng(0).integers(20, 200, 40))
    frame = pl.DataFrame({"g": groups})
    for seed in range(5):
        split = split_rows(frame, seed=seed, group="g")
        assert 0.15 <= len(split.test) / len(groups) <= 0.25
        assert 0.15 <= len(split.valid) / len(groups) <= 0.25


@given(st.lists(st.integers(0, 30), min_size=30, max_size=200).filter(lambda t: len(set(t)) > 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_time_runs_forward_and_ties_stay_together(times: list[int], seed: int) -> None:
    frame = pl.DataFrame({"t": times})
    split = split_rows(frame, seed=seed, time="t")
    values = np.array(times)
    assert values[split.train].max() < values[split.valid].min()
    assert values[split.valid].max() < values[split.test].min()
    if seed == 0:
        check_partition(split, len(times))
        assert values[split.test].max() == values.max()


def test_time_rolls_back_for_other_seeds_unless_told_not_to() -> None:
    frame = pl.DataFrame({"t": np.arange(1_000)})
    ends = {seed: int(split_rows(frame, seed=seed, time="t").test.max()) for seed in range(6)}
    assert ends[0] == 999
    assert all(799 <= ends[s] < 999 for s in range(1, 6))
    assert len(set(ends.values())) > 3
    fixed = [split_rows(frame, seed=s, time="t", rolling=False).sizes() for s in range(3)]
    assert fixed == [{"train": 600, "valid": 200, "test": 200}] * 3


def test_time_in_text_and_dates() -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 4, 9), eager=True)
    a = split_rows(pl.DataFrame({"t": days}), seed=0, time="t")
    b = split_rows(pl.DataFrame({"t": days.cast(pl.String)}), seed=0, time="t")
    assert np.array_equal(a.test, b.test)
    with pytest.raises(DataError, match="no date in ISO form"):
        split_rows(pl.DataFrame({"t": ["May", "June", "July"] * 9}), seed=0, time="t")


def test_rare_labels_reach_every_part() -> None:
    labels = [None] * 2_000
    for i in range(6):
        labels[i * 300] = float(i)
    frame = pl.DataFrame({"y": labels})
    for seed in range(20):
        split = split_rows(frame, seed=seed, targets=("y",))
        there = frame["y"].is_not_null().to_numpy()
        assert there[split.train].sum() > 1 and there[split.valid].any() and there[split.test].any()


def test_refused() -> None:
    frame = pl.DataFrame({"g": ["a", "b"] * 20, "t": [1, 2] * 20, "y": [1.0] + [None] * 39})
    with pytest.raises(DataError, match="by group or by time, not both"):
        split_rows(frame, seed=0, group="g", time="t")
    with pytest.raises(DataError, match="has 2 groups"):
        split_rows(frame, seed=0, group="g")
    with pytest.raises(DataError, match="too few distinct times"):
        split_rows(frame, seed=0, time="t")
    with pytest.raises(TaskError, match='target "y" has no label in the'):
        split_rows(frame, seed=0, targets=("y",))
    with pytest.raises(DataError, match="sum below 1"):
        split_rows(10, seed=0, valid=0.5, test=0.5)
    with pytest.raises(DataError, match="at least 3"):
        split_rows(2, seed=0)
    with pytest.raises(DataError, match="needs the frame"):
        split_rows(10, seed=0, group="g")


def test_time_that_leaves_a_task_without_test_labels_names_it() -> None:
    frame = pl.DataFrame({"t": list(range(100)), "late": [1.0, 2.0] * 30 + [None] * 40})
    with pytest.raises(TaskError, match='target "late" has no label in the test rows'):
        split_rows(frame, seed=0, time="t", targets=("late",))
