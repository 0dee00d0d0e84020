"""All rows for about the price of one backward pass, where no example belongs to two tasks.

A task's own operations are passed task by task: over all tasks that is one pass of them. Below the outputs where the
tasks meet, the gradient of the *sum* of the losses holds, place by place, the gradient of one task: one pass for all.
Whose a place is follows from where each task's own pass left something (:mod:`sharewise.balance._ownership`), or, where
the graph has operations that are not known there, from a second pass (:mod:`sharewise.balance._coded`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..errors import BalanceError
from ._coded import MIXED, outputs_by_code
from ._gram import Products
from ._graph import SHARED, Leaves, reaches
from ._meeting import Meeting, find_meeting
from ._own_passes import Clash, Kept, Meet, pass_own
from ._owners import KnownOwners
from ._ownership import follow
from ._passes import OwnGradients, Taken
from ._reading import Reading, worthwhile_apart
from ._room import Room
from ._rows import Rows, row_buffers
from ._segments import Output, as_places, form_others, form_product, owned_factor, picked_factor
from ._sinks import RowSink, Sink
from ._uses import Use


@dataclass(frozen=True)
class Problem:
    """What is to be differentiated: see ``take_rows``."""

    losses: Sequence[Tensor]
    targets: Sequence[Tensor]
    own: Sequence[Sequence[Tensor]]
    leaves: Leaves
    uses: Sequence[Sequence[Use]]
    readings: Sequence[Sequence[Reading] | None]
    labels: Mapping[int, str]
    scale: float | Tensor
    batches: int
    keep: bool
    room: Room


class Plan(NamedTuple):
    """How the rows of each target come about, by position: ``alone``, left to autograd, for no two tasks share an
    operation that uses it; ``products``, kept as products; all others formed from the gradients of ``operations``."""

    alone: list[int]
    products: list[int]
    operations: list[Any]


def take_disjoint(problem: Problem, *, must: bool) -> Taken | None:
    """The rows, where no example belongs to two tasks; else ``None``.

    With ``must``, :class:`BalanceError` says why not, and a second pass finds out whose examples are where the graph
    does not tell; ``None`` then only where a gradient is not finite. A leaf that several tasks reach and that is not
    balanced counts for the first of them.
    """
    leaves = list({id(p): p for several in problem.own for p in several}.values())
    plan = _plan(problem, by_operation=False)
    if plan is not None:
        meeting = find_meeting(problem.losses, problem.leaves.nodes, plan.operations, leaves)
        if meeting is not None:
            try:
                taken = _by_structure(problem, plan, meeting)
            except Clash:
                if must and all(bool(torch.isfinite(loss).all()) for loss in problem.losses):
                    raise BalanceError(MIXED) from None
                return None
            if taken is not None:
                return taken
    return _by_code(problem) if must else None


def _plan(problem: Problem, *, by_operation: bool) -> Plan | None:
    """``by_operation``: nothing is left to autograd. ``None`` if an operation cannot be looked into."""
    nodes = problem.leaves.nodes
    plan = Plan([], [], [])
    operations: dict[Any, None] = {}
    for i, (target, uses, readings) in enumerate(zip(problem.targets, problem.uses, problem.readings, strict=True)):
        simple = bool(uses) and not any(isinstance(u.node, torch.autograd.function.BackwardCFunction) for u in uses)
        if readings is not None and worthwhile_apart(readings, len(problem.losses), problem.batches):
            plan.products.append(i)
        elif not by_operation and _is_alone(target, uses, nodes):
            plan.alone.append(i)
            continue
        elif not simple:
            return None
        operations |= dict.fromkeys(u.node for u in uses)
    plan.operations.extend(operations)
    return plan


def _is_alone(target: Tensor, uses: Sequence[Use], nodes: Mapping[Any, int]) -> bool:
    """Whether every operation that uses the target works for one task only."""
    if not target.is_leaf:
        return False
    if nodes.get(get_gradient_edge(target).node) != SHARED:
        return True  # reached by one task at most
    return bool(uses) and all(nodes[use.node] != SHARED for use in uses)


def _by_structure(problem: Problem, plan: Plan, meeting: Meeting) -> Taken | None:
    """One pass a task down to where they meet, one pass of the sum from there on."""
    nodes, tasks = problem.leaves.nodes, len(problem.losses)
    formed = [i for i in range(len(problem.targets)) if i not in plan.products]
    blocks, members, views = row_buffers(problem.targets, formed, problem.labels, tasks, problem.room)
    view_of = dict(zip(formed, views, strict=True))
    meets = [Meet(edge) for edge in meeting.edges]
    kept = [Kept(node) for node in plan.operations if nodes[node] != SHARED]
    rows: list[Sink] = [RowSink(problem.targets[i], view_of[i], i) for i in plan.alone]
    sinks: list[list[Sink]] = [[*rows, *meets] for _ in problem.losses]
    for sink in kept:
        sinks[nodes[sink.node]].append(sink)
    above = [[p for p in several if id(p) not in meeting.below] for several in problem.own]
    keep = problem.keep or bool(plan.operations)
    try:
        reached, mine = pass_own(problem.losses, sinks, above, meeting, nodes, problem.scale, keep)
    except Clash:
        problem.room.put_back(blocks)  # for the rows as another mode takes them
        raise
    shared = [node for node in plan.operations if nodes[node] == SHARED]
    met = {meet.edge: meet.label.expand_as(meet.total) for meet in meets if meet.total is not None}
    owners = follow(meeting.inner, list(met), list(met.values()), shared)
    if owners is None:
        problem.room.put_back(blocks)
        return None
    known, outputs = KnownOwners(), {}
    for sink in kept:
        places = as_places(sink.node, _or_zeros(sink.node, sink.gradient))
        owner = torch.full((len(places),), nodes[sink.node], device=places.device)
        outputs[sink.node] = Output(places, known.find(owner))
    for node, gradient in zip(shared, _descend(problem, meets, meeting, shared, mine), strict=True):
        outputs[node] = Output(as_places(node, gradient), known.find(owners[node].to(gradient.device)))
    factors = _resolve(problem, plan, outputs, view_of)
    used = [i not in plan.alone or any(i in several for several in reached) for i in range(len(problem.targets))]
    rows_taken = Rows(problem.targets, blocks, members, used, factors, _channels_last(problem, plan))
    return Taken(rows_taken, mine, [bool(several) for several in reached])


def _descend(
    problem: Problem, meets: Sequence[Meet], meeting: Meeting, shared: Sequence[Any], mine: OwnGradients
) -> list[Tensor]:
    """One pass from where the tasks meet: gradients of the shared operations' outputs; leaves below go to ``mine``."""
    first: dict[int, tuple[int, Tensor]] = {}
    for t, several in enumerate(problem.own):
        for leaf in several:
            if id(leaf) in meeting.below:
                first.setdefault(id(leaf), (t, leaf))
    met = [(meet.edge, meet.total) for meet in meets if meet.total is not None]
    wanted: list[Any] = [*(GradientEdge(node, 0) for node in shared), *(leaf for _, leaf in first.values())]
    if not wanted or not met:
        return [_or_zeros(node, None) for node in shared]
    starts: list[Any] = [edge for edge, _ in met]
    found = torch.autograd.grad(starts, wanted, [g for _, g in met], retain_graph=True, allow_unused=True)
    for (t, leaf), gradient in zip(first.values(), found[len(shared) :], strict=True):
        if gradient is not None:
            mine[t].append((leaf, gradient))
    return [_or_zeros(node, gradient) for node, gradient in zip(shared, found, strict=False)]


def _or_zeros(node: Any, gradient: Tensor | None) -> Tensor:
    if gradient is not None:
        return gradient.detach()
    meta = node._input_metadata[0]
    return torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device)


def _resolve(
    problem: Problem, plan: Plan, outputs: Mapping[Any, Output], view_of: Mapping[int, Tensor]
) -> dict[int, Products]:
    """Forms the rows of all targets that operations' outputs are needed for; those kept as products are returned."""
    factors: dict[int, Products] = {}
    tasks = len(problem.losses)
    for i, (target, uses, readings) in enumerate(zip(problem.targets, problem.uses, problem.readings, strict=True)):
        if i in plan.alone:
            continue
        given = [outputs[use.node] for use in uses]
        embedding = readings is not None and readings[0].layout[0] == "embedding"
        if readings is not None and i in plan.products:
            make = picked_factor if embedding else owned_factor
            factors[i] = make(target, readings, given, tasks)
        elif readings is not None and not embedding:
            form_product(view_of[i], readings, given)
        else:
            form_others(view_of[i], uses, given)
    return factors


def _channels_last(problem: Problem, plan: Plan) -> frozenset[int]:
    """The convolutions whose rows are formed as products of unfolded inputs."""
    formed = (i for i in range(len(problem.targets)) if i not in plan.alone and i not in plan.products)
    found = ((i, problem.readings[i]) for i in formed)
    return frozenset(i for i, readings in found if readings is not None and readings[0].layout[0] == "convolution")


def _by_code(problem: Problem) -> Taken | None:
    """Two passes of the sum of the losses, where the graph does not tell whose the examples are."""
    plan = _plan(problem, by_operation=True)
    if plan is None:
        raise BalanceError('mode "disjoint" cannot look into compiled or custom functions: use mode="auto"')
    found = outputs_by_code(problem.losses, problem.own, plan.operations, problem.leaves.nodes, problem.scale)
    if found is None:
        return None
    outputs, mine = found
    formed = [i for i in range(len(problem.targets)) if i not in plan.products]
    blocks, members, views = row_buffers(problem.targets, formed, problem.labels, len(problem.losses), problem.room)
    factors = _resolve(problem, plan, outputs, dict(zip(formed, views, strict=True)))
    touched = {
        int(t)
        for out in outputs.values()
        for t in out.owners.of[out.gradient.reshape(len(out.owners), -1).any(dim=1)].unique()
    }
    reached = [t in touched or reaches(loss, problem.targets) for t, loss in enumerate(problem.losses)]
    used = [True] * len(problem.targets)
    rows = Rows(problem.targets, blocks, members, used, factors, _channels_last(problem, plan))
    return Taken(rows, mine, reached)
