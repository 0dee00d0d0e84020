"""All tasks in one backward pass from where they meet, vectorised, for operations that are faster so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ._disjoint import Problem
from ._gram import Products
from ._graph import SHARED
from ._meeting import Meeting, find_meeting
from ._ownership import backward_names
from ._passes import OwnGradients, in_loop
from ._sinks import RowSink, Sink

# Operations whose backward functions are as fast for gradients of all tasks side by side as for one task, or faster: a
# product with a weight is one of m times the rows.
_VECTORISED = backward_names(
    "Addmm Mm T Relu LeakyRelu Elu Silu Gelu Tanh Sigmoid NativeLayerNorm Add Sub Mul View UnsafeView"
)


def in_one_pass(
    problem: Problem, sinks: Sequence[Sink], formed: Collection[int], factors: Mapping[int, Products]
) -> tuple[list[set[int]], OwnGradients] | None:
    """Hand every sink the gradients of all tasks; as :func:`in_loop`, whose results these are.

    The tasks' own operations take a pass a task, what they share one that carries ``m`` gradients. ``None`` where it
    has other operations than products with weights and activations of single entries, or where rows larger than a
    vector are among the ``formed`` (a whole second matrix of them would be made). Memory: for a moment, gradients of
    some activations for all tasks instead of one.
    """
    rows = [sink for sink in sinks if isinstance(sink, RowSink)]
    vectors = all(problem.targets[i].dim() < 2 for i in formed)
    meeting = _meeting(problem) if len(rows) == len(sinks) and vectors else None
    if meeting is None:
        return None
    shapes = [edge.node._input_metadata[edge.output_nr] for edge in meeting.edges]
    count = len(problem.losses)
    stacked = [torch.empty(count, *meta.shape, dtype=meta.dtype, device=meta.device) for meta in shapes]
    tops = [RowSink(edge, top, k) for k, (edge, top) in enumerate(zip(meeting.edges, stacked, strict=True))]
    reached, mine = in_loop(problem.losses, [tops] * count, problem.own, problem.scale, True)
    gradients = _descend(meeting, stacked, [sink.place for sink in rows])
    if gradients is None:
        return None
    found = {sink.target for sink, gradient in zip(rows, gradients, strict=True) if gradient is not None}
    for sink, gradient in zip(rows, gradients, strict=True):
        factor = factors.get(sink.target)
        if factor is not None and gradient is not None and factor.outputs.shape == gradient.shape:
            factor.outputs = gradient  # as it is: no copy
        else:
            sink.put_all(gradient)
    return [found if several else set() for several in reached], mine


def _meeting(problem: Problem) -> Meeting | None:
    """Where all tasks meet above all operations that use a target."""
    nodes = problem.leaves.nodes
    operations = {use.node: None for uses in problem.uses for use in uses}
    if not all(uses for uses in problem.uses) or any(nodes[node] != SHARED for node in operations):
        return None
    leaves = list({id(p): p for several in problem.own for p in several}.values())
    meeting = find_meeting(problem.losses, nodes, list(operations), leaves)
    if meeting is None or meeting.below or not meeting.edges:
        return None
    return meeting if all(node.name() in _VECTORISED for node in meeting.inner) else None


def _descend(meeting: Meeting, stacked: Sequence[Tensor], places: Sequence[Any]) -> tuple[Tensor | None, ...] | None:
    """One pass for all; ``None`` where it comes upon a hook that cannot be vectorised."""
    starts: list[Any] = list(meeting.edges)
    try:
        return torch.autograd.grad(starts, places, stacked, retain_graph=True, allow_unused=True, is_grads_batched=True)
    except RuntimeError:  # anything else that was wrong shows itself again in the passes a task that follow
        return None
