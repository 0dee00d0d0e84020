"""One step's examples, aligned or from per-task sources: the same type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError


def map_tensors(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply ``function`` to every tensor of nested dicts, lists and tuples."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {k: map_tensors(v, function) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(v, function) for v in tree)
    return tree


def join_tensors(trees: Sequence[Any]) -> Any:
    """Tensors of like nested structures, joined along the first dimension.

    Raises :class:`DataError` where the structures or the other dimensions differ.
    """
    first = trees[0]
    if not all(isinstance(t, type(first)) for t in trees):
        raise DataError(f"inputs do not match: {', '.join(sorted({type(t).__name__ for t in trees}))}")
    if isinstance(first, Tensor):
        shapes = {tuple(t.shape[1:]) for t in trees}
        if len(shapes) > 1:
            raise DataError(f"inputs do not match: shapes of one example are {sorted(shapes)}")
        return torch.cat(list(trees))
    if isinstance(first, Mapping):
        if any(set(t) != set(first) for t in trees):
            raise DataError(f"inputs do not match: names are {[sorted(t) for t in trees]}")
        return {k: join_tensors([t[k] for t in trees]) for k in first}
    if isinstance(first, list | tuple):
        if any(len(t) != len(first) for t in trees):
            raise DataError(f"inputs do not match: {[len(t) for t in trees]} parts")
        return type(first)(join_tensors(part) for part in zip(*trees, strict=True))
    return first


@dataclass
class Batch:
    """Examples of one step.

    Args:
        inputs: what the model is called with: a tensor ``[B, ...]`` or nested dicts, lists, tuples of them.
        targets: task name -> labels ``[B, ...]``. Where a label is missing any finite number may stand.
        observed: task name -> BoolTensor ``[B]``; a task not in it is observed everywhere. A task of
            ``targets`` with no observed example is absent from the step.
        weight: example weights ``[B]``, or ``None``.
    """

    inputs: Any
    targets: dict[str, Tensor]
    observed: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None

    def __len__(self) -> int:
        """Examples in the batch."""
        return len(next(iter(self.targets.values())))

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device (itself if it is already there)."""
        return self._map(lambda t: t.to(device, non_blocking=True))

    def select(self, rows: Tensor | slice) -> Batch:
        """The examples at ``rows`` (positions or a slice)."""
        if isinstance(rows, slice):
            return self._map(lambda t: t[rows])
        return self._map(lambda t: t.index_select(0, rows))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            map_tensors(self.inputs, function),
            {k: function(v) for k, v in self.targets.items()},
            {k: function(v) for k, v in self.observed.items()},
            None if self.weight is None else function(self.weight),
        )

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """The examples of all batches, in order; all have the same tasks.

        A mask or weight that only some batches have is filled with "observed" or 1 for the others.
        """
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        masked = [k for k in first.targets if any(k in b.observed for b in batches)]
        weight = None
        if any(b.weight is not None for b in batches):
            weight = torch.cat([torch.ones(len(b)) if b.weight is None else b.weight for b in batches])
        return Batch(
            join_tensors([b.inputs for b in batches]),
            {k: torch.cat([b.targets[k] for b in batches]) for k in first.targets},
            {k: torch.cat([b.mask(k) for b in batches]) for k in masked},
            weight,
        )

    def mask(self, task: str) -> Tensor:
        """Which examples have a label of ``task``: BoolTensor ``[B]``."""
        target = self.targets[task]
        return self.observed.get(task, torch.ones(len(target), dtype=torch.bool, device=target.device))
