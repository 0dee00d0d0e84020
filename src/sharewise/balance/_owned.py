"""Rows of a weight as products, where every example belongs to one task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._factor import weight_shaped
from ._gram import inner_products, widened

_FORMED = 1 << 22  # entries of rows formed at a time
_BLOCK = 128  # examples whose pairs are looked at at a time


@dataclass
class OwnedFactor:
    """Rows of one weight: ``outputs [N, d_out]``, ``inputs [N, d_in]``, and for each of the N whose it is.

    Row t is ``outputs[owner == t]^T inputs[owner == t]``. The Gram matrix comes from all pairs of examples,
    ``N^2 (d_in + d_out)``, or where that is more from rows formed a slice at a time, ``(N + m^2) d_in d_out``;
    a combination costs ``N d_in d_out``, as a plain backward pass. None of it grows with the number of tasks but m^2.
    """

    weight: Tensor
    inputs: Tensor
    outputs: Tensor
    owner: Tensor
    tasks: int
    transposed: bool = False

    def gram(self, other: OwnedFactor, dtype: torch.dtype) -> Tensor:
        """Inner products ``[m, m']`` (float64) with the rows of another batch for the same weight."""
        if not self._from_pairs(other):
            slices = zip(self._slices(dtype), other._slices(dtype), strict=True)
            return torch.stack([inner_products(mine, yours) for mine, yours in slices]).sum(0)
        if other is self:
            return self._from_half(dtype)
        products = [widened(a, dtype) @ widened(b, dtype).T for a, b in self._both(other)]
        by_task = _summed(products[0] * products[1], self.owner, self.tasks)
        return _summed(by_task.T, other.owner, other.tasks).T

    def _from_half(self, dtype: torch.dtype) -> Tensor:
        """The Gram matrix from each pair of examples once, by blocks of them."""
        inputs, outputs = widened(self.inputs, dtype), widened(self.outputs, dtype)
        total = torch.zeros(self.tasks, self.tasks, dtype=torch.float64, device=outputs.device)
        for first in range(0, len(self.owner), _BLOCK):
            block, rest = slice(first, first + _BLOCK), slice(first, None)
            products = (inputs[rest] @ inputs[block].T) * (outputs[rest] @ outputs[block].T)
            products[:_BLOCK].tril_()  # the pairs within the block once, too; those of an example with itself half
            products.diagonal().mul_(0.5)
            by_task = _summed(products, self.owner[rest], self.tasks)
            total += _summed(by_task.T, self.owner[block], self.tasks)
        return total + total.T

    def combine(self, weights: Tensor) -> Tensor:
        """``sum_t weights[t] row_t``, shaped like the weight."""
        wide = widened(self.outputs, torch.float32)
        mixed = wide * weights.to(wide)[self.owner][:, None]
        inputs = self.inputs.to(mixed)
        found = inputs.T @ mixed if self.transposed else mixed.T @ inputs
        return weight_shaped(found, self.weight).to(self.weight)

    def formed(self) -> Tensor:
        """The rows themselves ``[m, numel]``."""
        rows = torch.cat(list(self._slices(torch.float32)), dim=1).unflatten(1, (-1, self.inputs.shape[1]))
        return weight_shaped(rows.transpose(1, 2) if self.transposed else rows, self.weight).flatten(1).to(self.weight)

    def select(self, keep: Sequence[int]) -> OwnedFactor:
        """The rows at these positions; -1 stands for a row of zeros."""
        places = torch.full((self.tasks,), -1, device=self.owner.device)
        for new, old in enumerate(keep):
            if old >= 0:
                places[old] = new
        owner = places[self.owner]
        kept = owner >= 0
        return replace(self, inputs=self.inputs[kept], outputs=self.outputs[kept], owner=owner[kept], tasks=len(keep))

    def extend(self, other: OwnedFactor) -> OwnedFactor:
        """The sum of these rows and those of another batch: more examples of the same tasks."""
        inputs, outputs = (torch.cat([a, b.to(a)]) for a, b in self._both(other))
        return replace(self, inputs=inputs, outputs=outputs, owner=torch.cat([self.owner, other.owner]))

    def finite(self, task: int) -> bool:
        """Whether all entries of a task's row are finite, as far as its factors tell."""
        mine = self.owner == task
        return all(bool(torch.isfinite(side[mine]).all()) for side in (self.inputs, self.outputs))

    def _from_pairs(self, other: OwnedFactor) -> bool:
        """Whether all pairs of examples cost less than forming the rows."""
        pairs = len(self.owner) * len(other.owner)
        return pairs_pay(pairs, self.tasks, self.inputs.shape[1], self.outputs.shape[1])

    def _both(self, other: OwnedFactor) -> list[tuple[Tensor, Tensor]]:
        return [(self.inputs, other.inputs), (self.outputs, other.outputs)]

    def _slices(self, dtype: torch.dtype) -> Iterator[Tensor]:
        """The rows, ``[m, slice]`` at a time."""
        order = self.owner.argsort(stable=True)
        counts = torch.bincount(self.owner, minlength=self.tasks).tolist()
        inputs = widened(self.inputs, dtype)[order].split(counts)
        step = max(1, _FORMED // (self.tasks * self.inputs.shape[1]))
        for piece in self.outputs[order].split(step, dim=1):
            mine = widened(piece, dtype).split(counts)
            yield torch.stack([(d.T @ a).flatten() for d, a in zip(mine, inputs, strict=True)])


def pairs_pay(pairs: int, tasks: int, wide_in: int, wide_out: int) -> bool:
    """Whether the Gram matrix of a weight costs less from all pairs of examples than from rows.

    Rows ask for ``m^2 d_in d_out`` products and for being written and read once, about as much as 20 products an
    entry; each pair for ``d_in + d_out``, which are faster for being larger (measured).
    """
    return pairs * (wide_in + wide_out) < 2 * tasks * (tasks + 20) * wide_in * wide_out


def _summed(rows: Tensor, owner: Tensor, tasks: int) -> Tensor:
    """Sums ``[m, ...]`` over the rows of each owner, in float64."""
    total = torch.zeros(tasks, *rows.shape[1:], dtype=torch.float64, device=rows.device)
    return total.index_add_(0, owner, rows.double())
