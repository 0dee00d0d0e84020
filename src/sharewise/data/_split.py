"""Which rows train, which validate, which test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..errors import DataError, TaskError
from ._convert import convert, is_moments

_TRIES = 100


@dataclass(frozen=True)
class RowSplit:
    """Row numbers of each part: int64, ascending, disjoint."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        for part in ("train", "valid", "test"):
            object.__setattr__(self, part, np.sort(np.asarray(getattr(self, part), dtype=np.int64)))

    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {"train": len(self.train), "valid": len(self.valid), "test": len(self.test)}


def split_rows(
    table: int | pl.DataFrame,
    *,
    seed: int,
    valid: float = 0.2,
    test: float = 0.2,
    group: str | None = None,
    time: str | None = None,
    targets: Sequence[str] = (),
    rolling: bool = True,
) -> RowSplit:
    """Divide rows into training, validation and test parts; a function of the seed.

    Args:
        table: number of rows, or a frame (needed for ``group``, ``time`` and ``targets``).
        valid, test: shares of the rows.
        group: no value of this column stands in two parts.
        time: the latest rows test, those before them validate; equal times never stand in two parts.
        targets: every one of these keeps labels in every part, and at least two distinct ones in training.
        rolling: with ``time`` only. Seed 0 uses all rows. Any other seed sets the latest rows aside, a share
            drawn between 0 and ``test``, and splits the rest: a rolling origin (Tashman 2000, "Out-of-sample
            tests of forecasting accuracy"), without which all seeds would share one test period and intervals
            over seeds would leave out how results change with time. ``False``: the same split for every seed.

    Raises:
        DataError: shares out of range, too few rows or groups, both ``group`` and ``time``.
        TaskError: a target that has no labels in one of the parts, by name.
    """
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise DataError(f"valid and test are shares of the rows with a sum below 1, got {valid} and {test}")
    if seed < 0:
        raise DataError(f"the seed must be a whole number from 0 on, got {seed}")
    if group is not None and time is not None:
        raise DataError("a split is by group or by time, not both: give one of them")
    rows = table if isinstance(table, int) else table.height
    if rows < 3:
        raise DataError(f"{rows} rows cannot be split in three parts: at least 3 are needed")
    if isinstance(table, int):
        if group is not None or time is not None or targets:
            raise DataError("a split by group, time or targets needs the frame, not only its number of rows")
        return _random(rows, valid, test, np.random.default_rng(seed))
    if time is not None:
        split = _by_time(table[time], seed if rolling else 0, valid, test)
        _check_labels(table, targets, split)
        return split
    return _drawn(table, targets, seed, valid, test, group)


def _drawn(
    table: pl.DataFrame, targets: Sequence[str], seed: int, valid: float, test: float, group: str | None
) -> RowSplit:
    """Draw until every target has labels in every part and groups come out near the wanted shares.

    Only whether a label is there, and what the training labels are, is looked at.
    """
    codes = None if group is None else _group_codes(table[group])
    rng = np.random.default_rng(seed)
    best: tuple[float, RowSplit] | None = None
    for _ in range(_TRIES):
        if codes is None:
            split, off = _random(table.height, valid, test, rng), 0.0
        else:
            split = _by_group(codes, valid, test, rng)
            off = max(
                abs(len(split.valid) / (valid * table.height) - 1),
                abs(len(split.test) / (test * table.height) - 1),
            )
        if _unlabelled(table, targets, split) is None and (best is None or off < best[0]):
            best = (off, split)
            if off < 0.25:
                break
    if best is None:
        _check_labels(table, targets, split)
        raise AssertionError("unreachable: the last draw had labels everywhere")
    return best[1]


def _random(rows: int, valid: float, test: float, rng: np.random.Generator) -> RowSplit:
    order = rng.permutation(rows)
    n_test, n_valid = max(1, round(rows * test)), max(1, round(rows * valid))
    if n_test + n_valid >= rows:
        n_test = n_valid = 1
    return RowSplit(order[n_test + n_valid :], order[n_test : n_test + n_valid], order[:n_test])


def _group_codes(series: pl.Series) -> np.ndarray:
    if series.null_count():
        raise DataError(f'group column "{series.name}" has {series.null_count()} missing values: fill them')
    codes = series.rank("dense").to_numpy().astype(np.int64) - 1
    groups = int(codes.max()) + 1
    if groups < 3:
        raise DataError(
            f'group column "{series.name}" has {groups} group{"s" if groups > 1 else ""}: training, '
            "validation and test need at least one each, that is 3"
        )
    return codes


def _by_group(codes: np.ndarray, valid: float, test: float, rng: np.random.Generator) -> RowSplit:
    """Groups in random order, each to the part that lacks most of its share."""
    sizes = np.bincount(codes)
    wanted = np.array([test, valid, 1 - valid - test]) * len(codes)
    have = np.zeros(3)
    part = np.empty(len(sizes), dtype=np.int64)
    for group in rng.permutation(len(sizes)):
        part[group] = int(np.argmax(1 - have / wanted))
        have[part[group]] += sizes[group]
    of_row = part[codes]
    return RowSplit(*(np.flatnonzero(of_row == i) for i in (2, 1, 0)))


def _by_time(series: pl.Series, seed: int, valid: float, test: float) -> RowSplit:
    if series.null_count():
        raise DataError(f'time column "{series.name}" has {series.null_count()} missing values: fill them')
    if series.dtype == pl.String:
        if not is_moments(series):
            raise DataError(f'time column "{series.name}" holds text that is no date in ISO form (2024-05-31)')
        series = convert(series, "date")
    codes = series.rank("dense").to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable")
    if seed != 0:
        aside = np.random.default_rng(seed).uniform(0, test)
        order = order[: _cut(codes[order], 1 - aside)]
    sorted_codes = codes[order]
    to_test = _cut(sorted_codes, 1 - test)
    to_valid = _cut(sorted_codes[:to_test], 1 - valid / (1 - test))
    if to_valid == 0 or to_valid == to_test or to_test == len(order):
        raise DataError(
            f'time column "{series.name}" has too few distinct times ({int(codes.max())}) to split training, '
            "validation and test: give a finer one"
        )
    return RowSplit(order[:to_valid], order[to_valid:to_test], order[to_test:])


def _cut(codes: np.ndarray, share: float) -> int:
    """Position nearest to ``share`` of the sorted codes where the code changes (0 or the end if nowhere)."""
    changes = np.flatnonzero(np.diff(codes)) + 1
    if not len(changes):
        return len(codes)
    return int(changes[np.argmin(np.abs(changes - share * len(codes)))])


def _unlabelled(table: pl.DataFrame, targets: Sequence[str], split: RowSplit) -> tuple[str, str] | None:
    for target in targets:
        there = table[target].is_not_null().to_numpy()
        for part in ("test", "valid", "train"):
            if not there[getattr(split, part)].any():
                return target, f"no label in the {part} rows"
        if table[target][split.train].drop_nulls().n_unique() < 2:
            return target, "only one distinct label in the training rows"
    return None


def _check_labels(table: pl.DataFrame, targets: Sequence[str], split: RowSplit) -> None:
    found: Any = _unlabelled(table, targets, split)
    if found is not None:
        raise TaskError(f'target "{found[0]}" has {found[1]} of this split: use another split or drop the target')
