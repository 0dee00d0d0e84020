"""Taking gradient rows: which tensors, in which form, by which backward passes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import BalanceError, OptionError
from ._checks import check_representation
from ._disjoint import Problem, take_disjoint
from ._gram import Products
from ._graph import find_leaves, leaves_before, reaches, split_leaves
from ._passes import Taken, batched, in_loop
from ._reading import Reading, begin_factor, read_uses, worthwhile, written_in_place
from ._reducer import Reducer
from ._room import Room
from ._rows import Rows, row_buffers
from ._sinks import BiasSink, ProductSink, RowSink, Sink
from ._together import in_one_pass
from ._uses import Use, find_uses

MODES = ("auto", "loop", "batched", "gram", "disjoint", "representation")
_PRODUCTS = ("gram", "disjoint")


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
    room: Room | None = None,
    arrange: Callable[[list[Tensor]], list[Tensor]] | None = None,
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
        room: where matrices of rows are taken from.
        arrange: puts the shared parameters in order.

    Raises :class:`BalanceError` where nothing is shared.
    """
    factors: dict[int, Products] = {}
    sinks: list[Sink] = []
    room = Room() if room is None else room
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
        targets = targets if arrange is None else arrange(targets)
    if not targets:
        raise BalanceError(
            "no parameter is reached by two or more of the losses, so there is nothing to balance: "
            "name the shared ones with shared=..., or call .backward() on the sum"
        )
    if mode == "batched":
        rows, mine = batched(losses, targets, own, scale)
        return Taken(rows, mine, [reaches(loss, targets) for loss in losses])
    uses = find_uses(leaves.nodes, targets) if representation is None else [[] for _ in targets]
    readings = [read_uses(found, target) for found, target in zip(uses, targets, strict=True)]
    problem = None
    if mode in _PRODUCTS and len(losses) > 1:
        problem = Problem(losses, targets, own, leaves, uses, readings, labels or {}, scale, batches, keep, room)
        taken = take_disjoint(problem, must=mode == "disjoint")
        if taken is not None:
            return taken
    if mode in _PRODUCTS:
        factors, sinks = _factors(readings, targets, len(losses), batches)
    formed = [i for i in range(len(targets)) if i not in factors]
    blocks, members, views = row_buffers(targets, formed, labels or {}, len(losses), room)
    stopped = {use.node for i in factors for use in uses[i]}
    sinks += [
        _formed(targets[i], uses[i], readings[i], view, i, stopped) for i, view in zip(formed, views, strict=True)
    ]
    together = in_one_pass(problem, sinks, formed, factors) if problem is not None and factors else None
    if together is None:
        together = in_loop(losses, [sinks] * len(losses), own, scale, keep)
    reached, mine = together
    used = set().union(*reached)
    rows = Rows(targets, blocks, members, [i in used for i in range(len(targets))], factors)
    return Taken(rows, mine, [bool(r) for r in reached])


def _formed(
    target: Tensor,
    uses: Sequence[Use],
    readings: Sequence[Reading] | None,
    view: Tensor,
    position: int,
    stopped: Collection[Any],
) -> Sink:
    """``stopped``: operations whose passes stop at their outputs."""
    if readings is not None and written_in_place(readings):
        return ProductSink(readings, view, position)
    if uses and all(use.node in stopped and use.node.name() == "ConvolutionBackward0" for use in uses):
        return BiasSink(uses, view, position)
    return RowSink(target, view, position)


def _factors(
    readings: Sequence[Sequence[Reading] | None], targets: Sequence[Tensor], tasks: int, batches: int
) -> tuple[dict[int, Products], list[Sink]]:
    """The targets whose rows are cheaper kept as products, and where their passes stop and write to."""
    factors: dict[int, Products] = {}
    sinks: list[Sink] = []
    for i, (weight, several) in enumerate(zip(targets, readings, strict=True)):
        if several is not None and worthwhile(several, tasks, batches):
            factors[i], views = begin_factor(weight, several, tasks)
            sinks += [RowSink(r.edge, view, i) for r, view in zip(several, views, strict=True)]
    return factors, sinks
