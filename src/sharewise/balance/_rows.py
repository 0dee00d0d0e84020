"""Gradient rows, one a task, and how a direction goes back to the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._gram import gram_matrix, weighted_sum
from ._reducer import Reducer


@dataclass
class Rows:
    """Gradients of m losses with respect to some tensors.

    Args:
        targets: the tensors differentiated for.
        blocks: the rows, cut into matrices ``[m, n_b]``: one for each device and dtype, or one a tensor.
        members: for each block, the positions of the tensors whose entries its columns hold, in order.
        used: for each tensor, whether any loss depends on it.
    """

    targets: Sequence[Tensor]
    blocks: list[Tensor]
    members: list[list[int]]
    used: list[bool]

    def gram(self) -> Tensor:
        """Inner products ``[m, m]`` in float64; see :func:`~sharewise.balance._gram.gram_matrix`."""
        return gram_matrix(self.blocks)

    def reduce(self, reducer: Reducer) -> None:
        """Combine the rows with those of other processes, which may use tensors that this one does not."""
        self.blocks = [reducer.rows(b) for b in self.blocks]
        self.used = [True] * len(self.targets)

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
        """A direction ``[n]`` in the order of :meth:`matrix` -> a gradient for each of the targets."""
        return self._cut(list(direction.split([b.shape[1] for b in self.blocks])))

    def select(self, keep: Sequence[int]) -> Rows:
        """The rows at these positions (a copy)."""
        return Rows(self.targets, [b[list(keep)] for b in self.blocks], self.members, self.used)

    def deposit(self, gradients: Sequence[Tensor]) -> None:
        """Hand each target its gradient: leaves by adding to ``.grad``, activations by a pass on to their leaves.

        A parameter that no loss depends on is left as it is, as a backward pass would.
        """
        used = [(p, g) for p, g, used in zip(self.targets, gradients, self.used, strict=True) if used]
        add_gradients([(p, g) for p, g in used if p.is_leaf])
        inner = [(p, g) for p, g in used if not p.is_leaf]
        if inner:
            torch.autograd.backward([p for p, _ in inner], [g for _, g in inner])

    def _cut(self, flats: list[Tensor]) -> list[Tensor]:
        pieces: dict[int, Tensor] = {}
        for flat, places in zip(flats, self.members, strict=True):
            sizes = [self.targets[i].numel() for i in places]
            for i, piece in zip(places, flat.split(sizes), strict=True):
                pieces[i] = piece.view(self.targets[i].shape).to(self.targets[i])
        return [pieces[i] for i in range(len(self.targets))]


def add_gradients(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Add to ``.grad`` as a backward pass does: a first gradient is stored, a later one added."""
    for parameter, gradient in pairs:
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.add_(gradient)
