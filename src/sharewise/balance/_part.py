"""The tasks of a step and what their losses were differentiated into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import _checks as checks
from ._passes import OwnGradients
from ._reducer import Reducer
from ._rows import Rows


@dataclass(frozen=True)
class Present:
    """The tasks of a batch that take part: names, losses with their graph, values ``[m]`` to decide by."""

    names: tuple[str, ...]
    losses: list[Tensor]
    values: Tensor
    skipped: tuple[str, ...] = ()

    @classmethod
    def of(cls, losses: Mapping[str, Tensor], reducer: Reducer | None) -> Present:
        """All losses; values in the widest of their dtypes, on the first one's device."""
        found = [loss.detach() for loss in losses.values()]
        wide = found[0].dtype
        for value in found[1:]:
            wide = torch.promote_types(wide, value.dtype)
        values = torch.stack([value.to(found[0].device, wide) for value in found])
        if reducer is not None:
            values = reducer.losses(values)
        return cls(tuple(losses), list(losses.values()), values)

    def without(self, bad: Sequence[int], on_nonfinite: str) -> Present:
        """What is left when the losses at ``bad`` are not finite; raises if that is what was asked for."""
        if not bad:
            return self
        if on_nonfinite == "raise":
            raise checks.refuse([self.names[i] for i in bad], "the loss")
        keep = [] if on_nonfinite == "skip step" else [i for i in range(len(self.names)) if i not in bad]
        return replace(self._at(keep), skipped=tuple(self.names[i] for i in bad))

    def select(self, names: Sequence[str]) -> Present:
        """These tasks, in the order they are in here."""
        return self._at([i for i, name in enumerate(self.names) if name in names])

    def _at(self, keep: Sequence[int]) -> Present:
        names = tuple(self.names[i] for i in keep)
        return replace(self, names=names, losses=[self.losses[i] for i in keep], values=self.values[list(keep)])


@dataclass(frozen=True)
class Part:
    """Tasks by name, their losses ``[m]``, their rows, and their gradients of what is not shared."""

    names: tuple[str, ...]
    values: Tensor
    rows: Rows
    own: OwnGradients

    def select(self, names: Sequence[str]) -> Part:
        """These tasks in this order; a task not here gets zeros."""
        if tuple(names) == self.names:
            return self
        keep = [self.names.index(name) if name in self.names else -1 for name in names]
        values = torch.stack([self.values[i] if i >= 0 else self.values.new_zeros(()) for i in keep])
        own: OwnGradients = [self.own[i] if i >= 0 else [] for i in keep]
        return Part(tuple(names), values, self.rows.select(keep), own)

    def plus(self, other: Part, *, join: bool) -> Part:
        """This and another batch: rows are added, or with ``join`` (other activations) put side by side."""
        names = tuple(dict.fromkeys((*self.names, *other.names)))
        mine, yours = self.select(names), other.select(names)
        rows = mine.rows.join(yours.rows) if join else mine.rows.plus(yours.rows)
        own = [_added(a, b) for a, b in zip(mine.own, yours.own, strict=True)]
        return Part(names, mine.values + yours.values, rows, own)

    def mean(self, batches: int) -> Part:
        """Divided by the number of batches."""
        if batches == 1:
            return self
        self.rows.scale(1 / batches)
        own = [[(p, g / batches) for p, g in pairs] for pairs in self.own]
        return Part(self.names, self.values / batches, self.rows, own)


def _added(one: list[tuple[Tensor, Tensor]], two: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    sums = {id(p): (p, g) for p, g in one}
    for p, g in two:
        sums[id(p)] = (p, sums[id(p)][1] + g) if id(p) in sums else (p, g)
    return list(sums.values())
