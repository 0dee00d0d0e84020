"""Which parameters the tasks share, read from the autograd graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

SHARED = -1


@dataclass(frozen=True)
class Leaves:
    """Leaf tensors that losses reach.

    ``shared``: reached by two or more losses; ``own[t]``: reached by loss t alone. ``nodes``: every operation and
    leaf on the way -> the one task whose loss depends on it, or ``SHARED``. In the order of the walk, which is the
    same for the same graph.
    """

    shared: list[Tensor]
    own: list[list[Tensor]]
    nodes: dict[Any, int]


def find_leaves(losses: Sequence[Tensor], stop: Iterable[Tensor] = ()) -> Leaves:
    """Walk the graphs of the losses together; do not walk past the tensors of ``stop``.

    Linear in the size of the joint graph, whatever the number of losses: a node is visited once by the first loss
    that reaches it and once more when a second one does.
    """
    stops = {id(node): node for node in (get_gradient_edge(t).node for t in stop)}
    owner: dict[Any, int] = {}
    found: dict[Any, Tensor] = {}
    for t, loss in enumerate(losses):
        pending = [get_gradient_edge(loss).node]
        while pending:
            node = pending.pop()
            before = owner.get(node)
            if before in (t, SHARED) or id(node) in stops:
                continue
            owner[node] = t if before is None else SHARED
            children = node.next_functions
            if children:
                pending.extend([child for child, _ in children if child is not None])
            elif hasattr(node, "variable"):  # an AccumulateGrad node: the end of a path, holding its leaf
                found[node] = node.variable
    leaves = Leaves([], [[] for _ in losses], owner)
    for node, leaf in found.items():
        who = owner[node]
        (leaves.shared if who == SHARED else leaves.own[who]).append(leaf)
    return leaves


def split_leaves(leaves: Leaves, shared: Sequence[Tensor] | None) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The shared parameters, and for each task the leaves that get its own gradient.

    Shared are the parameters given, else those reached by two or more tasks (all there are, if there is only one
    task). A leaf that is no :class:`~torch.nn.Parameter` (an input that asks for its gradient) is never found to be
    shared; such a leaf, and a parameter several tasks reach that is not among the ones given, gets the gradient of
    every task that reaches it, as in a plain backward pass.
    """
    own = leaves.own
    if shared is None:
        candidates = leaves.shared if len(own) > 1 else own[0]
        chosen: list[Tensor] = [p for p in candidates if isinstance(p, nn.Parameter)]
    else:
        chosen = [p for p in shared if p.requires_grad]
    ids = {id(p) for p in chosen}
    common = [p for p in leaves.shared if id(p) not in ids]
    return chosen, [[p for p in mine if id(p) not in ids] + common for mine in own]


def leaves_before(losses: Sequence[Tensor], stop: Sequence[Tensor]) -> list[list[Tensor]]:
    """For each loss the leaves it reaches without passing a tensor of ``stop``."""
    leaves = find_leaves(losses, stop)
    return [mine + leaves.shared for mine in leaves.own]


def reaches(loss: Tensor, targets: Sequence[Tensor]) -> bool:
    """Whether the loss depends on any of the tensors, as far as its graph tells."""
    wanted = {get_gradient_edge(t).node for t in targets}
    seen: set[Any] = set()
    pending: list[Any] = [get_gradient_edge(loss).node]
    while pending:
        node = pending.pop()
        if node in wanted:
            return True
        if node not in seen:
            seen.add(node)
            pending.extend([child for child, _ in node.next_functions if child is not None])
    return False
