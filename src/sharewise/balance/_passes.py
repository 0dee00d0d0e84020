"""The backward passes: one a task, or one vectorised over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BalanceError
from ._rows import Rows
from ._sinks import Sink

OwnGradients = list[list[tuple[Tensor, Tensor]]]
"""For each task, the leaves that are not balanced and their gradients, kept aside until the decision is taken."""


@dataclass(frozen=True)
class Taken:
    """Rows, the gradients of what is not shared, and for each loss whether it depends on anything shared."""

    rows: Rows
    own: OwnGradients
    reached: list[bool]


def in_loop(
    losses: Sequence[Tensor],
    sinks: Sequence[Sequence[Sink]],
    own: Sequence[Sequence[Tensor]],
    scale: float | Tensor,
    keep: bool,
) -> tuple[list[set[int]], OwnGradients]:
    """One backward pass a task, each gradient handed to its sink.

    The same pass gives the task's own gradients. Memory: what the sinks keep and one task's gradients. Returns which
    targets each loss depends on.
    """
    reached: list[set[int]] = [set() for _ in losses]
    mine: OwnGradients = []
    for t, loss in enumerate(losses):
        places = [list(sink.places) for sink in sinks[t]]
        inputs: list[Any] = [place for several in places for place in several]
        gradients = _gradients(loss, [*inputs, *own[t]], seed(loss, scale), keep or t + 1 < len(losses))
        given = iter(gradients)
        for sink, several in zip(sinks[t], places, strict=True):
            if sink.put(t, [next(given) for _ in several]):
                reached[t].add(sink.target)
        mine.append([(p, g) for p, g in zip(own[t], given, strict=True) if g is not None])
        del gradients, given  # one task's gradients at a time are held, not two
    return reached, mine


def _gradients(loss: Tensor, inputs: list[Any], start: Tensor | None, keep: bool) -> list[Tensor | None]:
    try:
        return list(torch.autograd.grad(loss, inputs, start, retain_graph=keep, allow_unused=True))
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise BalanceError(
            "the forward pass was compiled to give its buffers away in the first backward pass, but several tasks need "
            "several passes: set torch._functorch.config.donated_buffer = False before compiling"
        ) from error


def batched(
    losses: Sequence[Tensor], targets: Sequence[Tensor], own: Sequence[Sequence[Tensor]], scale: float | Tensor
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


def seed(loss: Tensor, scale: float | Tensor) -> Tensor | None:
    """What a backward pass of ``scale`` times the loss starts from; a tensor is not waited for."""
    return None if is_one(scale) else torch.ones_like(loss) * scale


def is_one(scale: float | Tensor) -> bool:
    """Whether the scale is the plain number 1."""
    return not isinstance(scale, Tensor) and scale == 1
