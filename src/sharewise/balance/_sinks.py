"""Where the gradients of a backward pass go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ._gram import full_precision
from ._reading import Reading
from ._uses import Use

Place = Tensor | GradientEdge


class Sink(Protocol):
    """What is differentiated for, and what is done with it."""

    target: int
    """Position of the parameter it is for; -1 for what is no row of one."""

    @property
    def places(self) -> Sequence[Place]:
        """What to differentiate for."""

    def put(self, task: int, gradients: Sequence[Tensor | None]) -> bool:
        """Take the gradients of a task's loss for the places; returns whether there were any."""


@dataclass
class RowSink:
    """Gradients are copied into a buffer ``[m, *shape]``."""

    place: Place
    view: Tensor
    target: int

    @property
    def places(self) -> Sequence[Place]:
        """See :class:`Sink`."""
        return (self.place,)

    def put(self, task: int, gradients: Sequence[Tensor | None]) -> bool:
        """See :meth:`Sink.put`."""
        (gradient,) = gradients
        if gradient is None:
            self.view[task].zero_()
        else:
            self.view[task].copy_(gradient)
        return gradient is not None

    def put_all(self, gradients: Tensor | None) -> None:
        """:meth:`put` for all tasks ``[m, *shape]`` at once."""
        if gradients is None:
            self.view.zero_()
        else:
            self.view.copy_(gradients)


class ProductSink:
    """The pass stops at the outputs of a weight's layer, and the product with its inputs is written in place.

    What autograd would do, without a gradient of the weight's size that is made, copied and thrown away: where the
    weight is larger than its batch that is most of the cost of a row.
    """

    def __init__(self, readings: Sequence[Reading], view: Tensor, target: int) -> None:
        self.readings, self.view, self.target = readings, view, target
        self.inputs = [r.inputs().detach() for r in readings]

    @property
    def places(self) -> Sequence[Place]:
        """See :class:`Sink`."""
        return [r.edge for r in self.readings]

    def put(self, task: int, gradients: Sequence[Tensor | None]) -> bool:
        """See :meth:`Sink.put`."""
        row, found = self.view[task], False
        for gradient, inputs, reading in zip(gradients, self.inputs, self.readings, strict=True):
            if gradient is not None:
                add_product(row, gradient, inputs, reading, begin=not found)
                found = True
        if not found:
            row.zero_()
        return found


class BiasSink:
    """Rows of a convolution's bias, summed up from the gradients of its outputs.

    Asked for the bias alone, a convolution's backward function computes the weight's gradient with it.
    """

    def __init__(self, uses: Sequence[Use], view: Tensor, target: int) -> None:
        self.uses, self.view, self.target = uses, view, target

    @property
    def places(self) -> Sequence[Place]:
        """See :class:`Sink`."""
        return [GradientEdge(use.node, 0) for use in self.uses]

    def put(self, task: int, gradients: Sequence[Tensor | None]) -> bool:
        """See :meth:`Sink.put`."""
        found = [g.flatten(2).sum((0, 2)) for g in gradients if g is not None]
        self.view[task].zero_()
        for piece in found:
            self.view[task] += piece
        return bool(found)


@torch.no_grad()
def add_product(row: Tensor, outputs: Tensor, inputs: Tensor, reading: Reading, *, begin: bool) -> None:
    """``row = outputs^T inputs``, or ``row +=`` that, for a weight's row and ``[N, d_out]``, ``[N, d_in]``."""
    with full_precision(row):
        _add_product(row, outputs, inputs, reading, begin)


@torch.no_grad()
def add_products(rows: Tensor, pieces: Iterable[tuple[int, Tensor, Tensor]], reading: Reading, begun: set[int]) -> None:
    """:func:`add_product` for many ``(task, outputs, inputs)``; ``begun``: tasks whose row holds something already."""
    with full_precision(rows):
        for task, outputs, inputs in pieces:
            _add_product(rows[task], outputs, inputs, reading, task not in begun)
            begun.add(task)


def _add_product(row: Tensor, outputs: Tensor, inputs: Tensor, reading: Reading, begin: bool) -> None:
    left, right = (inputs, outputs) if reading.transposed else (outputs, inputs)
    shown = row.view(left.shape[1], right.shape[1])
    if not row.dtype == left.dtype == right.dtype:
        product = left.T @ right.to(left)
        shown.copy_(product) if begin else shown.add_(product)
    elif begin:
        torch.mm(left.T, right, out=shown)
    else:
        shown.addmm_(left.T, right)
