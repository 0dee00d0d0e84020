"""Gradients for a schedule that asks for them, by passes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..balance import MeanReducer, measure
from ..data import Batch
from ..schedule import Gradients, Signal
from ._random import aside

if TYPE_CHECKING:
    from ._loop import Loop


class Probe:
    """Shows the schedule of a loop the gradients it asks for, before it is asked for the step's tasks.

    Nothing of these passes stays in the model or in the random state. Of aligned data the step's (first) batch is
    looked at, by the exact Gram matrix where that is all the schedule uses; where each task has a source of its own, a
    batch of each, one after the other.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._shown = -1

    def aligned(self, batch: Batch) -> None:
        """From a batch with the labels of all tasks; once a step."""
        loop = self.loop
        wanted = loop.schedule.probes(loop.step) if loop.feed.reader is None and self._shown < loop.step else []
        if not wanted:
            return
        self._shown = loop.step
        with aside(loop.model, loop.fabric.device):
            losses = loop.losses(batch.to(loop.fabric.device), wanted)
            if not losses:
                return
            names, shared = tuple(losses), loop.shared_parameters()
            if "gram" in loop.schedule.uses:
                found = Gradients(names, gram=measure(losses, shared=shared, reducer=loop.reducer).gram)
            else:
                found = Gradients(names, rows=gradient_rows(losses, shared, loop.reducer))
            loop.schedule.observe(loop.step, Signal(gradients=found))

    def by_task(self) -> None:
        """From a batch of each task's own examples, where it has a label; once a step."""
        loop = self.loop
        wanted = loop.schedule.probes(loop.step) if self._shown < loop.step else []
        if not wanted:
            return
        self._shown = loop.step
        taken = {name: loop.feed.take([name]).to(loop.fabric.device) for name in wanted}
        names = tuple(name for name, batch in taken.items() if loop.task_losses.seen(batch, [name]))
        if not names:
            return
        with aside(loop.model, loop.fabric.device):
            rows = (self._own_row(name, taken[name]) for name in names)
            loop.schedule.observe(loop.step, Signal(gradients=Gradients(names, rows=rows)))

    def _own_row(self, name: str, batch: Batch) -> Tensor:
        losses = self.loop.losses(batch, [name])
        (row,) = gradient_rows(losses, self.loop.shared_parameters(), self.loop.reducer)
        return row


def gradient_rows(
    losses: Mapping[str, Tensor], shared: Sequence[Tensor], reducer: MeanReducer | None
) -> Iterator[Tensor]:
    """The gradient ``[n]`` of each loss for the shared parameters, one after the other; the graph stays."""
    for loss in losses.values():
        found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True, materialize_grads=True)
        row = torch.cat([gradient.flatten() for gradient in found])
        yield row if reducer is None else reducer.rows(row)
