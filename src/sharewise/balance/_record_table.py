"""Recorded steps as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ._balance import Balance
from ._cosines import split

if TYPE_CHECKING:
    import polars as pl


class Entry(NamedTuple):
    """A decision as it came, its tensors where they were."""

    step: int
    epoch: int | None
    group: str | None
    """The group of parameters decided on; ``None``: all of them."""
    names: tuple[str, ...]
    tensors: dict[str, Tensor]
    """Of ``weight`` and ``loss`` ``[m]``, ``gram`` and ``projected`` ``[m, m]`` those that are known."""


def entries(
    balance: Balance, losses: Mapping[str, Tensor] | None, step: int, epoch: int | None, group: str | None = None
) -> list[Entry]:
    """What is worth keeping of a step: the whole, then its groups. Nothing is waited for."""
    if not balance.names:
        return []
    found = {
        "weight": balance.weight_vector,
        "loss": torch.stack([losses[name].detach() for name in balance.names]) if losses else None,
        "gram": balance.gram,
        "projected": balance.notes.get("projected"),
    }
    whole = Entry(step, epoch, group, balance.names, {k: v.detach() for k, v in found.items() if v is not None})
    parts = (entries(part, None, step, epoch, name) for name, part in balance.groups.items())
    return [whole, *(entry for part in parts for entry in part)]


def table(kept: Sequence[Entry], tasks: Mapping[str, int], groups: Mapping[str, int]) -> pl.DataFrame:
    """Rows of all entries, names as numbers: step by step, the whole before its groups, single tasks before pairs.

    Waits for the device once for each kind of entry.
    """
    import polars as pl

    alike: dict[tuple[object, ...], list[Entry]] = {}
    for entry in kept:
        alike.setdefault((entry.group, entry.names, *entry.tensors), []).append(entry)
    frames = [_frame({})]
    for some in alike.values():
        names, group = some[0].names, some[0].group
        values = {key: torch.stack([e.tensors[key] for e in some]).cpu() for key in some[0].tensors}
        rows = _rows(some, torch.tensor([tasks[name] for name in names]), values)
        frames.append(rows if group is None else rows.with_columns(group=pl.lit(groups[group], pl.UInt32)))
    return pl.concat(frames).sort("step", "group", nulls_last=False, maintain_order=True)


def _rows(entries: Sequence[Entry], tasks: Tensor, values: dict[str, Tensor]) -> pl.DataFrame:
    """Rows of s steps with the same m tasks: a row a task of all steps, then a row an ordered pair of tasks."""
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
    return pl.concat([alone, paired])


def _frame(columns: Mapping[str, Tensor], epoch: pl.Series | None = None) -> pl.DataFrame:
    """All columns of the table in their types; those not given are null."""
    import polars as pl

    types: dict[str, type[pl.DataType]] = {"step": pl.Int64, "epoch": pl.Int32, "group": pl.UInt32}
    types |= {"task": pl.UInt32, "other": pl.UInt32}
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
