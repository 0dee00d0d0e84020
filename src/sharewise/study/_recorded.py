"""What a balancer decided in a run, summed up from its record."""

from __future__ import annotations

import polars as pl


def weights(record: pl.DataFrame) -> dict[str, list[float]]:
    """Task -> its mean weight in each epoch, NaN where none was recorded; ``record`` is a Recorder's table."""
    known = record.filter(pl.col("other").is_null(), pl.col("weight").is_not_null())
    if known.is_empty():
        return {}
    epochs = known.select(pl.int_range(pl.col("epoch").max() + 1, dtype=pl.Int32).alias("epoch"))
    means = known.group_by("epoch", "task", maintain_order=True).agg(pl.col("weight").mean())
    found = {}
    for (task,), mine in means.group_by("task", maintain_order=True):
        line = epochs.join(mine, on="epoch", how="left", maintain_order="left")["weight"]
        found[str(task)] = line.fill_null(float("nan")).to_list()
    return found


def projected(record: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Task -> other task -> share of their steps in which the first's gradient lost its part along the second's.

    Empty where the balancer does not note it.
    """
    known = record.filter(pl.col("projected").is_not_null())
    found: dict[str, dict[str, float]] = {}
    shares = known.group_by("task", "other", maintain_order=True).agg(pl.col("projected").mean())
    for task, other, share in shares.iter_rows():
        found.setdefault(task, {})[other] = share
    return found
