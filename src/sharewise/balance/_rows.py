"""Gradient rows, one a task, and how a direction goes back to the parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ._factor import take, weight_shaped
from ._gram import Products, gram_matrix, weighted_sum
from ._reducer import Reducer
from ._room import Room


@dataclass
class Rows:
    """Gradients of m losses with respect to some tensors.

    Args:
        targets: the tensors differentiated for.
        blocks: rows that are formed, cut into matrices ``[m, n_b]``: one for each device, dtype and group, or one a
            tensor.
        members: for each block, the positions of the tensors whose entries its columns hold, in order.
        used: for each tensor, whether any loss depends on it.
        factors: position of a tensor -> its rows as products, for tensors that are in no block.
        channels_last: positions of the convolutions whose columns are in that order.
    """

    targets: Sequence[Tensor]
    blocks: list[Tensor]
    members: list[list[int]]
    used: list[bool]
    factors: dict[int, Products] = field(default_factory=dict)
    channels_last: frozenset[int] = frozenset()

    def gram(self, other: Rows | None = None) -> Tensor:
        """Inner products ``[m, m]`` in float64, with the rows of another batch if given; see ``gram_matrix``."""
        if other is None:
            return gram_matrix(self.blocks, list(self.factors.values()))
        if self._alike(other):
            return gram_matrix(
                self.blocks, list(self.factors.values()), (other.blocks, [other.factors[i] for i in self.factors])
            )
        return gram_matrix(self._formed(), other=(other._formed(), []))

    def finite(self, task: int) -> bool:
        """Whether all entries of a task's row are finite."""
        whole = all(bool(torch.isfinite(b[task]).all()) for b in self.blocks)
        return whole and all(f.finite(task) for f in self.factors.values())

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

    def combine(self, weights: Tensor) -> dict[int, Tensor]:
        """``weights @ rows``: position of a tensor -> gradient."""
        found = self._cut([weighted_sum(weights, b) for b in self.blocks])
        return found | {i: f.combine(weights) for i, f in self.factors.items()}

    def cut(self, direction: Tensor) -> dict[int, Tensor]:
        """A direction ``[n]`` in the order of :meth:`matrix` -> position of a tensor -> gradient."""
        return self._cut(list(direction.split([b.shape[1] for b in self.blocks])))

    def select(self, keep: Sequence[int]) -> Rows:
        """The rows at these positions (a copy); -1 stands for a row of zeros."""
        factors = {i: f.select(keep) for i, f in self.factors.items()}
        return replace(self, blocks=[take(b, keep) for b in self.blocks], factors=factors)

    def part(self, positions: Collection[int]) -> Rows:
        """The columns of the tensors at these positions, which share no block with others."""
        chosen = [k for k, places in enumerate(self.members) if places and places[0] in positions]
        return replace(
            self,
            blocks=[self.blocks[k] for k in chosen],
            members=[self.members[k] for k in chosen],
            factors={i: f for i, f in self.factors.items() if i in positions},
        )

    def plus(self, other: Rows) -> Rows:
        """The sum of these rows and those of another batch of the same tasks; these are used up.

        The batches may use different tensors, or keep different ones as products.
        """
        if self._alike(other):
            for mine, yours in zip(self.blocks, other.blocks, strict=True):
                mine += yours
            used = [a or b for a, b in zip(self.used, other.used, strict=True)]
            factors = {i: f.extend(other.factors[i]) for i, f in self.factors.items()}
            return replace(self, used=used, factors=factors)
        return _sum(self, other)

    def _alike(self, other: Rows) -> bool:
        same = [id(p) for p in self.targets] == [id(p) for p in other.targets]
        kinds = [{i: type(f) for i, f in rows.factors.items()} for rows in (self, other)]
        order = self.channels_last == other.channels_last
        return same and self.members == other.members and kinds[0] == kinds[1] and order

    def _formed(self) -> list[Tensor]:
        """All rows, a block a tensor in the order of the targets."""
        pieces = sorted(self.of_each().items())
        return [piece if isinstance(piece, Tensor) else piece.formed() for _, piece in pieces]

    def of_each(self) -> dict[int, Tensor | Products]:
        """Position of a tensor -> its rows ``[m, numel]``, or what they are products of."""
        found: dict[int, Tensor | Products] = {**self.factors}
        for block, places in zip(self.blocks, self.members, strict=True):
            pieces = block.split([self.targets[i].numel() for i in places], dim=1)
            found.update((i, self._shaped(i, piece).flatten(1)) for i, piece in zip(places, pieces, strict=True))
        return found

    def join(self, other: Rows) -> Rows:
        """These rows and those of the same tasks for other tensors, side by side."""
        count = len(self.targets)
        members = [[i + count for i in places] for places in other.members]
        factors = self.factors | {i + count: f for i, f in other.factors.items()}
        return Rows(
            [*self.targets, *other.targets],
            self.blocks + other.blocks,
            self.members + members,
            self.used + other.used,
            factors,
            self.channels_last | {i + count for i in other.channels_last},
        )

    def scale(self, factor: float) -> None:
        """Multiply all rows, in place."""
        for block in (*self.blocks, *(f.outputs for f in self.factors.values())):
            block *= factor

    def deposit(self, gradients: Mapping[int, Tensor]) -> None:
        """Hand each target its gradient: leaves by adding to ``.grad``, activations by a pass on to their leaves.

        A parameter that no loss depends on is left as it is, as a backward pass would.
        """
        used = [(self.targets[i], g) for i, g in sorted(gradients.items()) if self.used[i]]
        add_gradients([(p, g) for p, g in used if p.is_leaf])
        inner = [(p, g) for p, g in used if not p.is_leaf]
        if inner:
            torch.autograd.backward([p for p, _ in inner], [g for _, g in inner])

    def _cut(self, flats: list[Tensor]) -> dict[int, Tensor]:
        pieces: dict[int, Tensor] = {}
        for flat, places in zip(flats, self.members, strict=True):
            sizes = [self.targets[i].numel() for i in places]
            for i, piece in zip(places, flat.split(sizes), strict=True):
                pieces[i] = self._shaped(i, piece[None])[0].to(self.targets[i])
        return pieces

    def _shaped(self, position: int, rows: Tensor) -> Tensor:
        """Columns of a tensor ``[k, numel]`` as ``[k, *shape]``."""
        target = self.targets[position]
        if position in self.channels_last:
            return weight_shaped(rows.view(len(rows), len(target), -1), target)
        return rows.view(len(rows), *target.shape)


def _sum(one: Rows, two: Rows) -> Rows:
    """The sum of rows that are laid out differently: a block a tensor."""
    targets = list({id(p): p for p in (*one.targets, *two.targets)}.values())
    place = {id(p): i for i, p in enumerate(targets)}
    used = [False] * len(targets)
    sums: dict[int, Tensor | Products] = {}
    for rows in (one, two):
        for i, piece in rows.of_each().items():
            at = place[id(rows.targets[i])]
            used[at] |= rows.used[i]
            sums[at] = piece if at not in sums else _plus(sums[at], piece)
    formed = {i: piece for i, piece in sorted(sums.items()) if isinstance(piece, Tensor)}
    factors = {i: piece for i, piece in sorted(sums.items()) if not isinstance(piece, Tensor)}
    return Rows(targets, list(formed.values()), [[i] for i in formed], used, factors)


def _plus(one: Tensor | Products, two: Tensor | Products) -> Tensor | Products:
    if type(one) is not type(two) or isinstance(one, Tensor) or isinstance(two, Tensor):
        one, two = (piece if isinstance(piece, Tensor) else piece.formed() for piece in (one, two))
        return one + two
    return one.extend(two)


def add_gradients(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Add to ``.grad`` as a backward pass does: a first gradient is stored, a later one added."""
    for parameter, gradient in pairs:
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.add_(gradient)


def row_buffers(
    targets: Sequence[Tensor], formed: Sequence[int], labels: Mapping[int, str], count: int, room: Room
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
        block = room.take((count, sum(sizes)), dtype, device)
        for i, view in zip(places, block.split(sizes, dim=1), strict=True):
            views[i] = view.unflatten(1, targets[i].shape) if targets[i].dim() else view.squeeze(1)
        blocks.append(block)
    return blocks, list(groups.values()), [views[i] for i in formed]
