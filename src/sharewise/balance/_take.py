"""Taking gradient rows: a backward pass a task, or one vectorised over tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import BalanceError, OptionError
from ._checks import check_representation
from ._graph import leaves_before, split_leaves
from ._rows import Rows

OwnGradients = list[list[tuple[Tensor, Tensor]]]
"""For each task, the leaves that are not balanced and their gradients, kept aside until the decision is taken."""


def take_rows(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor] | None,
    representation: Tensor | Sequence[Tensor] | None,
    *,
    mode: str,
    scale: float | Tensor = 1.0,
    keep: bool = False,
) -> tuple[Rows, OwnGradients]:
    """Gradients of ``scale`` times each loss, for what is shared (the rows) and for what is not.

    With a ``representation`` the rows are its gradients, and its trunk is not passed. ``keep`` retains the graph.
    Raises :class:`BalanceError` where nothing is shared.
    """
    if representation is not None:
        targets = [representation] if isinstance(representation, Tensor) else list(representation)
        check_representation(targets)
        own = leaves_before(losses, targets)
    elif mode == "representation":
        raise OptionError('mode "representation" needs the activation: pass representation=z')
    else:
        targets, own = split_leaves(losses, shared)
    if not targets:
        raise BalanceError(
            "no parameter is reached by two or more of the losses, so there is nothing to balance: "
            "name the shared ones with shared=..., or call .backward() on the sum"
        )
    # On CPUs the loop is faster than vmap and works with every operation.
    take = TAKE.get(mode, in_loop)
    return take(losses, targets, own, scale, keep or representation is not None)


def seed(loss: Tensor, scale: float | Tensor) -> Tensor | None:
    """What a backward pass of ``scale`` times the loss starts from; a tensor is not waited for."""
    return None if is_one(scale) else torch.ones_like(loss) * scale


def is_one(scale: float | Tensor) -> bool:
    """Whether the scale is the plain number 1."""
    return not isinstance(scale, Tensor) and scale == 1


def in_loop(
    losses: Sequence[Tensor],
    targets: Sequence[Tensor],
    own: Sequence[Sequence[Tensor]],
    scale: float | Tensor,
    keep: bool,
) -> tuple[Rows, OwnGradients]:
    """One backward pass a task, each row written into its place of one preallocated buffer.

    The same pass gives the task's own gradients. Memory: one matrix ``[m, n]`` and one task's gradients.
    """
    members, blocks, views = _buffers(targets, len(losses))
    used = [False] * len(targets)
    mine: OwnGradients = []
    for t, loss in enumerate(losses):
        gradients = torch.autograd.grad(
            loss,
            [*targets, *own[t]],
            grad_outputs=seed(loss, scale),
            retain_graph=keep or t + 1 < len(losses),
            allow_unused=True,
        )
        for i, (view, gradient) in enumerate(zip(views, gradients, strict=False)):
            if gradient is None:
                view[t].zero_()
            else:
                view[t].copy_(gradient)
                used[i] = True
        rest = gradients[len(targets) :]
        mine.append([(p, g) for p, g in zip(own[t], rest, strict=True) if g is not None])
        del gradient, gradients  # one task's gradients at a time are held, not two
    return Rows(targets, blocks, members, used), mine


def batched(
    losses: Sequence[Tensor],
    targets: Sequence[Tensor],
    own: Sequence[Sequence[Tensor]],
    scale: float | Tensor,
    keep: bool,
) -> tuple[Rows, OwnGradients]:
    """All rows by one backward pass vectorised over tasks (``torch.vmap``), after one plain pass for the heads.

    Rows stay in one block a tensor, so there is no second copy unless a balancer needs the whole matrix. The graph
    is kept, for a second look at rows that are not finite. Raises :class:`BalanceError` for an operation without a
    batching rule (recurrent layers on CUDA, compiled forwards, some custom functions).
    """
    stacked = torch.stack([loss.to(losses[0]) for loss in losses])
    seeds = torch.ones_like(stacked) * scale
    mine, common = _alone(stacked, seeds, own)
    wanted = [*targets, *common]
    try:
        rows = torch.autograd.grad(
            stacked, wanted, torch.diag(seeds), retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    except RuntimeError as error:
        reason = str(error).split("\n", 1)[0]
        raise BalanceError(f'mode "batched" cannot vectorise this model ({reason}): use mode="loop"') from error
    for p, gradient in zip(common, rows[len(targets) :], strict=True):
        if gradient is not None:
            for t, leaves in enumerate(own):
                if any(p is leaf for leaf in leaves):
                    mine[t].append((p, gradient[t]))
    used = [g is not None for g in rows[: len(targets)]]
    blocks = [
        p.new_zeros(len(losses), p.numel()) if g is None else g.reshape(len(losses), -1)
        for p, g in zip(targets, rows, strict=False)
    ]
    return Rows(targets, blocks, [[i] for i in range(len(targets))], used), mine


def _alone(stacked: Tensor, seeds: Tensor, own: Sequence[Sequence[Tensor]]) -> tuple[OwnGradients, list[Tensor]]:
    """Gradients of the leaves of one task, from the sum of the losses; and the leaves of several, which need rows."""
    tasks_of: dict[int, list[int]] = {}
    for t, leaves in enumerate(own):
        for p in leaves:
            tasks_of.setdefault(id(p), []).append(t)
    pairs = [(t, p) for t, leaves in enumerate(own) for p in leaves if len(tasks_of[id(p)]) == 1]
    common = list({id(p): p for leaves in own for p in leaves if len(tasks_of[id(p)]) > 1}.values())
    mine: OwnGradients = [[] for _ in own]
    if pairs:
        found = torch.autograd.grad(stacked, [p for _, p in pairs], seeds, retain_graph=True, allow_unused=True)
        for (t, p), gradient in zip(pairs, found, strict=True):
            if gradient is not None:
                mine[t].append((p, gradient))
    return mine, common


TAKE: dict[str, Callable[..., tuple[Rows, OwnGradients]]] = {"loop": in_loop, "batched": batched}
MODES = ("auto", *TAKE, "representation")


def _buffers(targets: Sequence[Tensor], count: int) -> tuple[list[list[int]], list[Tensor], list[Tensor]]:
    """One matrix for each device and dtype, and for each target its columns as ``[m, *shape]``."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, p in enumerate(targets):
        groups.setdefault((p.device, p.dtype), []).append(i)
    blocks, views = [], [torch.empty(0)] * len(targets)
    for (device, dtype), places in groups.items():
        sizes = [targets[i].numel() for i in places]
        block = torch.empty(count, sum(sizes), device=device, dtype=dtype)
        for i, view in zip(places, block.split(sizes, dim=1), strict=True):
            views[i] = view.unflatten(1, targets[i].shape) if targets[i].dim() else view.squeeze(1)
        blocks.append(block)
    return list(groups.values()), blocks, views
