"""Whose each place of an operation's output is, found by a second backward pass.

With the losses multiplied by powers of two, every place's gradient must come out multiplied by the power of one task,
exactly, for these only move the exponent. Works with every operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ..errors import BalanceError
from ._graph import SHARED
from ._owners import KnownOwners
from ._passes import OwnGradients
from ._segments import Output, as_places

MIXED = (
    'mode "disjoint" needs every example to belong to one task, but one has gradients of several: a loss looks at the '
    'examples of others, or an operation (batch normalisation) mixes them; use mode="auto"'
)


def outputs_by_code(
    losses: Sequence[Tensor],
    own: Sequence[Sequence[Tensor]],
    operations: Sequence[Any],
    nodes: Mapping[Any, int],
    scale: float | Tensor,
) -> tuple[dict[Any, Output], OwnGradients] | None:
    """Gradients of all operations' outputs with their owners, and of the leaves that are not balanced.

    Two passes of the sum; ``None`` where a gradient is not finite. A leaf that several tasks reach and that is not
    balanced counts for the first of them. Raises :class:`BalanceError` where a place has gradients of two tasks, and
    for an operation several of whose outputs are used.
    """
    edges: list[Any] = [GradientEdge(node, 0) for node in operations]
    others = [GradientEdge(node, k) for node in operations for k in range(1, len(node._input_metadata))]
    leaves: dict[int, tuple[int, Tensor]] = {}
    for t, several in enumerate(own):
        for leaf in several:
            leaves.setdefault(id(leaf), (t, leaf))
    stacked = torch.stack([loss.to(losses[0]) for loss in losses])
    plain = torch.ones_like(stacked) * scale
    wanted = [*edges, *(leaf for _, leaf in leaves.values()), *others]
    found = torch.autograd.grad(stacked, wanted, plain, retain_graph=True, allow_unused=True)
    mine: OwnGradients = [[] for _ in losses]
    if any(g is not None for g in found[len(wanted) - len(others) :]):
        raise BalanceError('mode "disjoint" needs one output a layer, but the losses use several: use mode="auto"')
    for (t, leaf), gradient in zip(leaves.values(), found[len(edges) :], strict=False):
        if gradient is not None:
            mine[t].append((leaf, gradient))
    gradients = [
        as_places(n, torch.zeros(n._input_metadata[0].shape, device=stacked.device) if g is None else g.detach())
        for n, g in zip(operations, found, strict=False)
    ]
    if not all(bool(torch.isfinite(g).all()) for g in gradients):
        return None
    powers = torch.ldexp(plain, (torch.arange(len(losses)) - len(losses) // 2).to(plain.device))
    coded = torch.autograd.grad(stacked, edges, powers, retain_graph=True, allow_unused=True)
    outputs = {}
    known = KnownOwners()
    for node, gradient, other in zip(operations, gradients, coded, strict=True):
        if nodes[node] == SHARED and other is not None:
            owner = _owner(gradient, as_places(node, other.detach()), len(losses))
        else:
            owner = torch.full((len(gradient),), max(nodes[node], 0), device=gradient.device)
        outputs[node] = Output(gradient, known.find(owner))
    return outputs, mine


def _owner(gradient: Tensor, coded: Tensor, tasks: int) -> Tensor:
    """For each place the task whose power of two it was multiplied by (0 where it is zero)."""
    rows, other = gradient.reshape(len(gradient), -1), coded.reshape(len(coded), -1)
    largest, where = rows.abs().max(dim=1)
    ratio = (other.gather(1, where[:, None])[:, 0] / rows.gather(1, where[:, None])[:, 0]).abs().double()
    code = torch.where(largest > 0, torch.log2(ratio).round(), 0.0)
    owner = code.long() + tasks // 2
    # Exact but for entries so small that a power of two takes them out of the range of normal numbers.
    allowed = 4 * torch.finfo(rows.dtype).eps * largest * torch.exp2(code).to(rows)
    off = (other - rows * torch.exp2(code).to(rows)[:, None]).abs().amax(dim=1)
    if not bool(((owner >= 0) & (owner < tasks) & (off <= allowed) | (largest == 0)).all()):
        raise BalanceError(MIXED)
    return torch.where(largest > 0, owner, 0)
