"""Taking gradient rows: which tensors, in which form, by which backward passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BalanceError, OptionError
from ._checks import check_representation
from ._disjoint import Disjoint, owned_apart, take_disjoint
from ._gram import Products
from ._graph import find_leaves, leaves_before, reaches, split_leaves
from ._passes import OwnGradients, Sinks, batched, in_loop
from ._reading import begin_factor, read_uses, worthwhile
from ._reducer import Reducer
from ._rows import Rows
from ._uses import Use, find_uses

MODES = ("auto", "loop", "batched", "gram", "disjoint", "representation")
_PRODUCTS = ("gram", "disjoint")


@dataclass(frozen=True)
class Taken:
    """Rows, the gradients of what is not shared, and for each loss whether it depends on anything shared."""

    rows: Rows
    own: OwnGradients
    reached: list[bool]


def choose_mode(
    mode: str, needs: str, reducer: Reducer | None, representation: Tensor | Sequence[Tensor] | None
) -> str:
    """The mode to take, ``auto`` resolved; raises :class:`OptionError` for one that cannot serve."""
    if mode in _PRODUCTS:
        if needs != "gram":
            raise OptionError(f'mode "{mode}" never forms the gradients this method needs: use mode="auto"')
        if reducer is not None:
            raise OptionError(f'mode "{mode}" has no rows that could be averaged over processes: use mode="auto"')
        if representation is not None:
            raise OptionError(
                f'mode "{mode}" cannot take gradients of an activation: leave out representation=... or the mode'
            )
    if mode == "auto":
        return "gram" if needs == "gram" and reducer is None and representation is None else "loop"
    return mode


def take_rows(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor] | None,
    representation: Tensor | Sequence[Tensor] | None,
    *,
    mode: str,
    labels: Mapping[int, str] | None = None,
    batches: int = 1,
    scale: float | Tensor = 1.0,
    keep: bool = False,
) -> Taken:
    """Gradients of ``scale`` times each loss, for what is shared (the rows) and for what is not.

    Args:
        losses: m scalars.
        shared: the parameters to balance; found in the graph if ``None``.
        representation: the rows are its gradients instead, and its trunk is not passed.
        mode: ``loop``, ``batched``, or ``gram``: a loop that leaves the rows of a weight as products where that is
            cheaper.
        labels: ``id`` of a parameter -> its group; rows of different groups do not share a block.
        batches: how many batches are going to be accumulated.
        scale: the loss scale.
        keep: retain the graph.

    Raises :class:`BalanceError` where nothing is shared.
    """
    factors: dict[int, Products] = {}
    sinks: Sinks = []
    if representation is not None:
        targets = [representation] if isinstance(representation, Tensor) else list(representation)
        check_representation(targets)
        own = leaves_before(losses, targets)
        keep = True
    elif mode == "representation":
        raise OptionError('mode "representation" needs the activation: pass representation=z')
    else:
        leaves = find_leaves(losses)
        targets, own = split_leaves(leaves, shared)
    if not targets:
        raise BalanceError(
            "no parameter is reached by two or more of the losses, so there is nothing to balance: "
            "name the shared ones with shared=..., or call .backward() on the sum"
        )
    if mode == "batched":
        rows, mine = batched(losses, targets, own, scale)
        return Taken(rows, mine, [reaches(loss, targets) for loss in losses])
    if mode in _PRODUCTS:
        uses = find_uses(leaves.nodes, targets)
        if mode == "disjoint" or (len(losses) > 1 and owned_apart(leaves.nodes, uses)):
            found = take_disjoint(losses, targets, own, leaves.nodes, uses, scale, batches)
            if found is not None:
                return _from_disjoint(found, losses, targets)
        factors, sinks = _factors(uses, targets, len(losses), batches)
    formed = [i for i in range(len(targets)) if i not in factors]
    blocks, members, views = _buffers(targets, formed, labels or {}, len(losses))
    sinks = [(targets[i], view, i) for i, view in zip(formed, views, strict=True)] + sinks
    reached, mine = in_loop(losses, sinks, own, scale, keep)
    used = set().union(*reached)
    rows = Rows(targets, blocks, members, [i in used for i in range(len(targets))], factors)
    return Taken(rows, mine, [bool(r) for r in reached])


def _from_disjoint(found: Disjoint, losses: Sequence[Tensor], targets: Sequence[Tensor]) -> Taken:
    blocks = [rows.flatten(1) for rows in found.formed.values()]
    rows = Rows(targets, blocks, [[i] for i in found.formed], [True] * len(targets), found.factors)
    return Taken(rows, found.own, [t in found.touched or reaches(loss, targets) for t, loss in enumerate(losses)])


def _factors(
    uses: Sequence[Sequence[Use]], targets: Sequence[Tensor], tasks: int, batches: int
) -> tuple[dict[int, Products], Sinks]:
    """The targets whose rows are cheaper kept as products, and where their passes stop and write to."""
    factors: dict[int, Products] = {}
    sinks: Sinks = []
    for i, (weight, found) in enumerate(zip(targets, uses, strict=True)):
        readings = read_uses(found, weight)
        if readings is not None and worthwhile(readings, tasks, batches):
            factors[i], views = begin_factor(weight, readings, tasks)
            sinks += [(r.edge, view, i) for r, view in zip(readings, views, strict=True)]
    return factors, sinks


def _buffers(
    targets: Sequence[Tensor], formed: Sequence[int], labels: Mapping[int, str], count: int
) -> tuple[list[Tensor], list[list[int]], list[Tensor]]:
    """One matrix for each group, device and dtype, and for each formed target its columns as ``[m, *shape]``."""
    groups: dict[tuple[str | None, torch.device, torch.dtype], list[int]] = {}
    for i in formed:
        p = targets[i]
        groups.setdefault((labels.get(id(p)), p.device, p.dtype), []).append(i)
    views: dict[int, Tensor] = {}
    blocks = []
    for (_, device, dtype), places in groups.items():
        sizes = [targets[i].numel() for i in places]
        block = torch.empty(count, sum(sizes), device=device, dtype=dtype)
        for i, view in zip(places, block.split(sizes, dim=1), strict=True):
            views[i] = view.unflatten(1, targets[i].shape) if targets[i].dim() else view.squeeze(1)
        blocks.append(block)
    return blocks, list(groups.values()), [views[i] for i in formed]
