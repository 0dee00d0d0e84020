"""Gradient rows, one a task: taking them, and handing a direction to the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._gram import gram_matrix, weighted_sum


@dataclass
class Rows:
    """Gradients of m losses with respect to some tensors.

    Args:
        targets: the tensors differentiated for.
        blocks: the rows, cut into matrices ``[m, n_b]``: one for each device and dtype, or one a tensor.
        members: for each block, the positions of the tensors whose entries its columns hold, in order.
    """

    targets: Sequence[Tensor]
    blocks: list[Tensor]
    members: list[list[int]]

    def gram(self) -> Tensor:
        """Inner products ``[m, m]`` in float64; see :func:`~sharewise.balance._gram.gram_matrix`."""
        first = self.blocks[0].device
        products = [gram_matrix([b]).to(first) for b in self.blocks]
        return products[0] if len(products) == 1 else torch.stack(products).sum(0)

    def matrix(self) -> Tensor:
        """All rows as one ``[m, n]``: the buffer itself where there is one, else a copy on the first one's device."""
        if len(self.blocks) == 1:
            return self.blocks[0]
        wide = self.blocks[0].dtype
        for b in self.blocks:
            wide = torch.promote_types(wide, b.dtype)
        return torch.cat([b.to(self.blocks[0].device, wide) for b in self.blocks], dim=1)

    def combine(self, weights: Tensor) -> list[Tensor]:
        """``weights @ rows``, a gradient for each of the targets."""
        return self._cut([weighted_sum(weights, b) for b in self.blocks])

    def cut(self, direction: Tensor) -> list[Tensor]:
        """A direction ``[n]`` in the columns' order -> a gradient for each of the targets."""
        return self._cut(list(direction.split([b.shape[1] for b in self.blocks])))

    def select(self, keep: Sequence[int]) -> Rows:
        """The rows at these positions (a copy)."""
        blocks = [b[list(keep)] for b in self.blocks]
        return Rows(self.targets, blocks, self.members)

    def _cut(self, flats: list[Tensor]) -> list[Tensor]:
        pieces: dict[int, Tensor] = {}
        for flat, places in zip(flats, self.members, strict=True):
            sizes = [self.targets[i].numel() for i in places]
            for i, piece in zip(places, flat.split(sizes), strict=True):
                pieces[i] = piece.view(self.targets[i].shape).to(self.targets[i])
        return [pieces[i] for i in range(len(self.targets))]


@dataclass
class OwnGradients:
    """Gradients of the leaves that are not balanced, by task, kept aside until the decision is taken."""

    pairs: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)

    def deposit(self, keep: Sequence[int]) -> None:
        """Add the gradients of the tasks at ``keep`` to ``.grad``."""
        for t in keep:
            add_gradients([p for p, _ in self.pairs[t]], [g for _, g in self.pairs[t]])


def take_in_loop(
    losses: Sequence[Tensor], targets: Sequence[Tensor], own: Sequence[Sequence[Tensor]], *, scale: float, keep: bool
) -> tuple[Rows, OwnGradients]:
    """One backward pass a task, each row written into its place of one preallocated buffer.

    The same pass gives the task's own gradients. ``keep`` retains the graph after the last task.
    """
    members, blocks, views = _buffers(targets, len(losses))
    mine = OwnGradients()
    for t, loss in enumerate(losses):
        gradients = torch.autograd.grad(
            loss,
            [*targets, *own[t]],
            grad_outputs=None if scale == 1 else torch.full_like(loss, scale),
            retain_graph=keep or t + 1 < len(losses),
            allow_unused=True,
        )
        shared, rest = gradients[: len(targets)], gradients[len(targets) :]
        _write_row([view[t] for view in views], shared)
        mine.pairs.append([(p, g) for p, g in zip(own[t], rest, strict=True) if g is not None])
    return Rows(targets, blocks, members), mine


def take_batched(
    losses: Sequence[Tensor], targets: Sequence[Tensor], own: Sequence[Sequence[Tensor]], *, scale: float, keep: bool
) -> tuple[Rows, OwnGradients]:
    """All rows by one backward pass vectorised over tasks (``torch.vmap``), after one plain pass for the heads.

    Rows stay in one block a tensor, so no second copy is made unless the balancer needs the whole matrix.
    Operations without a batching rule (recurrent layers on CUDA, some custom functions) make it fail.
    """
    stacked = torch.stack([loss.to(losses[0]) for loss in losses])
    seeds = torch.full_like(stacked, scale)
    tasks_of: dict[int, list[int]] = {}
    for t, leaves in enumerate(own):
        for p in leaves:
            tasks_of.setdefault(id(p), []).append(t)
    alone = [(t, p) for t, leaves in enumerate(own) for p in leaves if len(tasks_of[id(p)]) == 1]
    common = list({id(p): p for leaves in own for p in leaves if len(tasks_of[id(p)]) > 1}.values())
    mine = OwnGradients([[] for _ in losses])
    if alone:
        passed = torch.autograd.grad(stacked, [p for _, p in alone], seeds, retain_graph=True, allow_unused=True)
        for (t, p), g in zip(alone, passed, strict=True):
            mine.pairs[t].append((p, torch.zeros_like(p) if g is None else g))
    gradients = torch.autograd.grad(
        stacked,
        [*targets, *common],
        torch.diag(seeds),
        retain_graph=keep,
        allow_unused=True,
        is_grads_batched=True,
    )
    full = [
        torch.zeros(len(losses), *p.shape).to(p) if g is None else g
        for p, g in zip([*targets, *common], gradients, strict=True)
    ]
    for p, g in zip(common, full[len(targets) :], strict=True):
        for t in tasks_of[id(p)]:
            mine.pairs[t].append((p, g[t]))
    blocks = [g.reshape(len(losses), -1) for g in full[: len(targets)]]
    return Rows(targets, blocks, [[i] for i in range(len(targets))]), mine


def add_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add to ``.grad`` as a backward pass does: a first gradient is stored, a later one added."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.add_(gradient)


def _buffers(targets: Sequence[Tensor], count: int) -> tuple[list[list[int]], list[Tensor], list[Tensor]]:
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


def _write_row(places: list[Tensor], gradients: Sequence[Tensor | None]) -> None:
    for place, gradient in zip(places, gradients, strict=True):
        if gradient is None:
            place.zero_()
        else:
            place.copy_(gradient)
