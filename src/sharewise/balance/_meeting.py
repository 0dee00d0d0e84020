"""Where the backward passes of the tasks meet: the outputs of shared operations that each task's own operations use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ._graph import SHARED


class Meeting(NamedTuple):
    """``edges``: where a pass of one task enters what it shares, and ``users`` the tasks' own operations that use
    each. ``inner``: the shared operations from there down to
    the last one that is asked for, each after all that use its result. ``below``: leaves that lie under ``edges``."""

    edges: list[GradientEdge]
    users: list[list[Any]]
    inner: list[Any]
    below: set[int]


def find_meeting(
    losses: Sequence[Tensor], nodes: Mapping[Any, int], operations: Collection[Any], leaves: Sequence[Tensor]
) -> Meeting | None:
    """The meeting of the tasks above the shared ones among ``operations``, and above shared ``leaves``.

    ``None`` where a pass of one task cannot be stopped there: one meeting place lies under another (a head on an
    inner layer besides heads on the last one), or a leaf is used both above and below.
    """
    users: dict[Any, list[tuple[Any, int]]] = {}
    for node in nodes:
        for child, nr in node.next_functions:
            if child is not None and nodes[child] == SHARED:
                users.setdefault(child, []).append((node, nr))
    below: set[int] = set()
    wanted = {node for node in operations if nodes[node] == SHARED}
    for leaf in leaves:
        shared = {nodes[user] == SHARED for user, _ in users.get(get_gradient_edge(leaf).node, ())}
        if len(shared) == 2:
            return None
        if True in shared:
            below.add(id(leaf))
            wanted |= {user for user, _ in users[get_gradient_edge(leaf).node]}
    needed, pending = set(wanted), list(wanted)
    while pending:
        for user, _ in users.get(pending.pop(), ()):
            if nodes[user] == SHARED and user not in needed:
                needed.add(user)
                pending.append(user)
    roots = {get_gradient_edge(loss).node for loss in losses}
    inner = _in_order(needed, users, nodes)
    edges: dict[tuple[Any, int], list[Any]] = {}
    for node in inner:
        for user, nr in users.get(node, ()):
            if nodes[user] != SHARED:
                edges.setdefault((node, nr), []).append(user)
    if roots & needed or _nested({node for node, _ in edges}, needed):
        return None
    return Meeting([GradientEdge(node, nr) for node, nr in edges], list(edges.values()), inner, below)


def _in_order(needed: set[Any], users: Mapping[Any, list[tuple[Any, int]]], nodes: Mapping[Any, int]) -> list[Any]:
    """The needed operations, each after all that use it."""
    waiting = {n: sum(user in needed for user, _ in users.get(n, ())) for n in nodes if n in needed}
    ready = [node for node, count in waiting.items() if count == 0]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for child, _ in node.next_functions:
            if child in waiting:
                waiting[child] -= 1
                if waiting[child] == 0:
                    ready.append(child)
    return order


def _nested(tops: set[Any], needed: set[Any]) -> bool:
    """Whether one of the nodes is reached from another one."""
    seen: set[Any] = set()
    pending = [child for node in tops for child, _ in node.next_functions]
    while pending:
        node = pending.pop()
        if node in tops:
            return True
        if node in needed and node not in seen:
            seen.add(node)
            pending.extend(child for child, _ in node.next_functions)
    return False
