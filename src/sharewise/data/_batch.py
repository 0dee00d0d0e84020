"""One step's examples, aligned or from per-task sources: the same type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


def map_tensors(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply ``function`` to every tensor of nested dicts, lists and tuples."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {k: map_tensors(v, function) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(v, function) for v in tree)
    return tree


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
