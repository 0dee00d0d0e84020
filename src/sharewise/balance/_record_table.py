"""Recorded steps as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ._balance import Balance
from ._cosines import split

if TYPE_CHECKING:
    import polars as pl


class Entry(NamedTuple):
    """A step as it came, its tensors where they were."""

    step: int
    epoch: int | None
    names: tuple[str, ...]
    tensors: dict[str, Tensor]
    """Of ``weight`` and ``loss`` ``[m]``, ``gram`` and ``projected`` ``[m, m]`` those that are known."""


def entry(balance: Balance, losses: Mapping[str, Tensor] | None, step: int, epoch: int | None) -> Entry:
    """What is worth keeping of a step; nothing is waited for."""
    found = {
        "weight": balance.weight_vector if balance.weight_vector is not None else balance.notes.get("weights"),
        "loss": torch.stack([losses[name].detach() for name in balance.names]) if losses and balance.names else None,
        "gram": balance.gram,
        "projected": balance.notes.get("projected"),
    }
    return Entry(step, epoch, balance.names, {k: v.detach() for k, v in found.items() if v is not None})


def table(entries: Sequence[Entry], places: Mapping[str, int]) -> pl.DataFrame:
    """Rows of all entries; tasks as numbers, by ``places``. Waits for the device once for each run of like entries."""
    import polars as pl

    frames = []
    for (names, known), run in groupby(entries, lambda e: (e.names, tuple(e.tensors))):
        if names:
            alike = list(run)
            values = {key: torch.stack([e.tensors[key] for e in alike]).cpu() for key in known}
            frames.append(_rows(alike, torch.tensor([places[name] for name in names]), values))
    return pl.concat(frames) if frames else _frame({})


def _rows(entries: Sequence[Entry], tasks: Tensor, values: dict[str, Tensor]) -> pl.DataFrame:
    """Rows of s steps with the same m tasks: step by step, first a row a task, then a row an ordered pair of tasks."""
    import polars as pl

    steps, m = len(entries), len(tasks)
    number = torch.tensor([e.step for e in entries])
    epoch = pl.Series([e.epoch for e in entries], dtype=pl.Int32)
    each = {"step": number.repeat_interleave(m), "task": tasks.repeat(steps)}
    each |= {key: values[key].flatten() for key in ("weight", "loss") if key in values}
    pairs = {}
    if "gram" in values:
        cosines, norms = split(values["gram"])
        each["norm"], pairs["cosine"] = norms.flatten(), cosines.clamp(-1, 1)
    if "projected" in values:
        pairs["projected"] = values["projected"]
    alone = _frame(each, epoch.gather(torch.arange(steps).repeat_interleave(m).numpy()))
    if m == 1 or not pairs:
        return alone
    off = ~torch.eye(m, dtype=torch.bool)
    i, j = torch.nonzero(off, as_tuple=True)
    both = {"step": number.repeat_interleave(len(i)), "task": tasks[i].repeat(steps), "other": tasks[j].repeat(steps)}
    both |= {key: value[:, off].flatten() for key, value in pairs.items()}
    paired = _frame(both, epoch.gather(torch.arange(steps).repeat_interleave(len(i)).numpy()))
    return pl.concat([alone, paired]).sort("step", maintain_order=True)


def _frame(columns: Mapping[str, Tensor], epoch: pl.Series | None = None) -> pl.DataFrame:
    """All columns of the table in their types; those not given are null."""
    import polars as pl

    types: dict[str, type[pl.DataType]] = {"step": pl.Int64, "epoch": pl.Int32, "task": pl.UInt32, "other": pl.UInt32}
    types |= {"weight": pl.Float64, "loss": pl.Float64, "norm": pl.Float64, "cosine": pl.Float32}
    types |= {"projected": pl.Boolean}
    length = len(columns.get("step", ()))
    made = []
    for name, kind in types.items():
        if name == "epoch" and epoch is not None:
            made.append(epoch.alias(name))
        elif name in columns:
            column = columns[name]
            made.append(pl.Series(name, (column.double() if column.is_floating_point() else column).numpy()).cast(kind))
        else:
            made.append(pl.repeat(None, length, dtype=kind, eager=True).alias(name))
    return pl.DataFrame(made)
