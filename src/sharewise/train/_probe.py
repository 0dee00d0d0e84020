"""Gradients for a schedule that asks for them, by passes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

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
        self._found: list[nn.Parameter] | None = None
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
            names, shared = tuple(losses), self.shared()
            if "gram" in loop.schedule.uses:
                found = Gradients(names, gram=measure(losses, shared=shared, reducer=loop.reducer).gram)
            else:
                found = Gradients(names, rows=gradient_rows(losses, shared, loop.reducer))
            loop.schedule.observe(loop.step, Signal(gradients=found))

    def by_task(self) -> None:
        """From a batch of each task's own examples; once a step."""
        loop = self.loop
        wanted = loop.schedule.probes(loop.step) if self._shown < loop.step else []
        if not wanted:
            return
        self._shown = loop.step
        with aside(loop.model, loop.fabric.device):
            rows = (self._own_row(name) for name in wanted)
            loop.schedule.observe(loop.step, Signal(gradients=Gradients(tuple(wanted), rows=rows)))

    def shared(self) -> list[nn.Parameter]:
        """What the model says is shared, or else what two or more of all the tasks reach: a step of few cannot tell."""
        known = getattr(self.loop.model, "shared_parameters", None)
        if known is not None:
            return list(known())
        if self._found is None:
            device = self.loop.fabric.device
            with aside(self.loop.model, device):
                batch = next(iter(self.loop.data.valid.batches(2))).to(device)
                raw = self.loop.model(batch.inputs)
                outputs = {task.name: raw[task.name].sum() for task in self.loop.tasks}
                self._found = reached_by_two(outputs, self.loop.model)
        return self._found

    def _own_row(self, name: str) -> Tensor:
        losses = self.loop.losses(self.loop.feed.take([name]).to(self.loop.fabric.device), [name])
        (row,) = gradient_rows(losses, self.shared(), self.loop.reducer)
        return row


def reached_by_two(outputs: Mapping[str, Tensor], model: nn.Module) -> list[nn.Parameter]:
    """The parameters that two or more scalars depend on; all that any does where there is one scalar.

    Cost: a backward pass a scalar.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    reached = [0] * len(parameters)
    for output in outputs.values():
        found = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        reached = [count + (gradient is not None) for count, gradient in zip(reached, found, strict=True)]
    least = min(2, len(outputs))
    return [p for p, count in zip(parameters, reached, strict=True) if count >= least]


def gradient_rows(
    losses: Mapping[str, Tensor], shared: Sequence[nn.Parameter], reducer: MeanReducer | None
) -> Iterator[Tensor]:
    """The gradient ``[n]`` of each loss for the shared parameters, one after the other; the graph stays."""
    for loss in losses.values():
        found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True, materialize_grads=True)
        row = torch.cat([gradient.flatten() for gradient in found])
        yield row if reducer is None else reducer.rows(row)
