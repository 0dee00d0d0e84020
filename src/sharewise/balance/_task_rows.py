"""The gradient rows of a step, kept for who asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BalanceError, OptionError, nearest
from ._gram import full_precision
from ._passes import is_one
from ._rows import Rows

Wanted = bool | Sequence[str]
"""Whose rows to keep: nobody's, everybody's, or those of the named tasks."""


@dataclass(frozen=True)
class TaskRows:
    """Gradients of k tasks with respect to the shared parameters: what ``backward(..., rows=True)`` keeps.

    Args:
        names: the k tasks, in the order of the rows. With ``on_nonfinite="ignore"``, those whose row is finite.
        kept: the rows of all tasks of the step.
        places: which of them the k are.
        scale: the loss scale they still carry.
        batches: how many batches they are the mean of.
        within: sum over the batches of the Gram matrix ``[k, k]`` of each alone; ``None`` for one batch, and where a
            batch lacks one of the tasks.

    Holds the memory of the rows until it is dropped.
    """

    names: tuple[str, ...]
    kept: Rows
    places: tuple[int, ...]
    scale: float | Tensor = 1.0
    batches: int = 1
    within: Tensor | None = None

    def parameters(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each parameter a loss depends on and its rows ``[k, *shape]``, without loss scale; not to be written to.

        Rows that are kept as products are formed here, a parameter at a time.
        """
        for i, held in sorted(self.kept.of_each().items()):
            if self.kept.used[i]:
                rows = held if isinstance(held, Tensor) else held.formed()
                if self.places != tuple(range(len(rows))):
                    rows = rows[list(self.places)]
                yield self.kept.targets[i], self._unscaled(rows).view(len(rows), *self.kept.targets[i].shape)

    def gram(self) -> Tensor:
        """Inner products ``[k, k]``, float64."""
        gram = self.kept.gram()[list(self.places)][:, list(self.places)]
        return gram / self.scale**2

    def between(self) -> Tensor:
        """Inner products ``[k, k]`` (float64) of rows of different batches, averaged over pairs of batches.

        Their expectation is that of the true gradients, on the diagonal too, where :meth:`gram` has the noise of the
        batches besides. Raises :class:`BalanceError` for one batch.
        """
        if self.within is None:
            raise BalanceError(
                "products between batches need two batches or more that all have the tasks: accumulate over them"
            )
        pairs = self.batches * (self.batches - 1)
        return (self.gram() * self.batches**2 - self.within) / pairs

    def inner(self, gradients: Iterable[Tensor]) -> Tensor:
        """Inner products ``[k]`` (float64) of the rows with gradients in the order of :meth:`parameters`."""
        found = torch.zeros(len(self.names), dtype=torch.float64)
        for (_, rows), gradient in zip(self.parameters(), gradients, strict=True):
            with full_precision(rows):
                found += (rows.flatten(1).double() @ gradient.flatten().double()).to(found)
        return found

    def _unscaled(self, rows: Tensor) -> Tensor:
        return rows if is_one(self.scale) else rows / self.scale


def wanted_names(wanted: Wanted, names: Sequence[str]) -> tuple[str, ...]:
    """The tasks of a step whose rows are wanted."""
    if isinstance(wanted, bool):
        return tuple(names) if wanted else ()
    return tuple(name for name in names if name in set(wanted))


def check_wanted(wanted: Wanted, names: Sequence[str], representation: object) -> None:
    """Raise :class:`OptionError` for a task that is not among those of the step, and for rows of an activation."""
    if representation is not None:
        raise OptionError("with a representation there are no rows of parameters to keep: leave out one of the two")
    for name in () if isinstance(wanted, bool) else wanted:
        if name not in names:
            raise OptionError(f'rows names task "{name}", which has no loss in this step; {nearest(name, names)}')
