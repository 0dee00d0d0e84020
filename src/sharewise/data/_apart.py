"""Training rows for another purpose than training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..errors import DataError
from ._load import TableData
from ._parquet import ParquetSource, gather_rows
from ._source import Source, Splits, TensorSource
from ._split import RowSplit


def set_apart(data: TableData, share: float, *, seed: int = 0) -> tuple[TableData, Source]:
    """The table with fewer training rows, and these: a ``share`` of them drawn by the seed.

    Where the table was split by groups, whole groups are drawn, as near to the share as they come. Validation and test
    rows, and the preprocessing learned on all training rows, stay as they are. Raises :class:`DataError` for a share
    that is not between 0 and 1, or that leaves one of the two without rows.
    """
    if not 0 < share < 1:
        raise DataError(f"the share of the training rows to set apart must lie between 0 and 1, got {share}")
    rows = data.row_ids.train
    taken = _drawn(_groups(data), share, np.random.default_rng([seed, len(rows)]))
    if taken.all() or not taken.any():
        raise DataError(
            f"{share:g} of {len(rows)} training rows cannot be set apart: one side would have none; take another share"
        )
    kept = Splits(_part(data, ~taken), data.splits.valid, data.splits.test)
    left = RowSplit(rows[~taken], data.row_ids.valid, data.row_ids.test)
    return replace(data, splits=kept, row_ids=left), _part(data, taken)


def _groups(data: TableData) -> np.ndarray:
    """A number for each training row, the same for rows that stay together."""
    rows, group = data.row_ids.train, data.schema.spec.group
    if group is None:
        return np.arange(len(rows))
    if data.frame is not None:
        values = data.part("train")[group]
    else:
        assert isinstance(data.splits.train, ParquetSource)
        values = gather_rows(data.splits.train.path, rows, [group])[group]
    return values.rank("dense").to_numpy().astype(np.int64) - 1


def _drawn(groups: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which rows are set apart: those of the first groups in random order whose sum comes nearest to the share."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    reached = np.concatenate([[0], np.cumsum(sizes[order])])
    count = int(np.argmin(np.abs(reached - share * len(groups))))
    return np.isin(groups, order[:count])


def _part(data: TableData, chosen: np.ndarray) -> Source:
    source = data.splits.train
    if isinstance(source, ParquetSource):
        return ParquetSource(source.path, data.row_ids.train[chosen], source.preprocessor)
    assert isinstance(source, TensorSource)
    batch = source.all.select(torch.from_numpy(np.flatnonzero(chosen)))
    return TensorSource(batch.inputs, batch.targets, batch.observed, batch.weight)
