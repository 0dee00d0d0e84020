"""Which operations use a parameter, read from the autograd graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

# Operations a parameter passes on its way into a product without being changed; all but the cast may transpose it.
_PASSING = ("ToCopyBackward0", "TBackward0", "TransposeBackward0", "PermuteBackward0")


class Use(NamedTuple):
    """An operation that a parameter goes into: its graph node, the argument's position, whether it came transposed."""

    node: Any
    slot: int
    transposed: bool


def find_uses(nodes: Iterable[Any], parameters: Sequence[Tensor]) -> list[list[Use]]:
    """For each parameter all operations among ``nodes`` that use it (none for tensors that are no leaves).

    A type cast (autocast) and a matrix's transposition (``x @ W.T``) are seen through; any other operation on the way
    is itself the use.
    """
    places = {get_gradient_edge(p).node: i for i, p in enumerate(parameters) if p.is_leaf}
    found: list[list[Use]] = [[] for _ in parameters]
    nodes = list(nodes)
    passers = {node for node in nodes if node.name() in _PASSING}
    for node in nodes:
        passing = node in passers
        for slot, (child, _) in enumerate(node.next_functions):
            transposed = moved = False
            while child in passers:
                transposed ^= _transposes(child)
                moved |= child.name() != "ToCopyBackward0"
                child = child.next_functions[0][0]
            if child not in places:
                continue
            matrix = parameters[places[child]].dim() == 2
            if passing and (matrix or node.name() == "ToCopyBackward0"):
                continue  # what it passes the parameter to is the use
            if matrix or not moved:  # else the first operation that moved it was the use
                found[places[child]].append(Use(node, slot, transposed))
    return found


def _transposes(node: Any) -> bool:
    """Whether the operation swaps the two axes of a matrix; saved axes are unsigned, so -1 is odd like 1."""
    if node.name() == "TransposeBackward0":
        return bool((node._saved_dim0 - node._saved_dim1) % 2)
    if node.name() == "PermuteBackward0":
        return bool(node._saved_dims[0] % 2)
    return bool(node.name() == "TBackward0")
