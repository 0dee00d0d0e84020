"""State kept by task name: tensors with one entry a task, saved as plain tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def encode_names(names: Sequence[str]) -> Tensor:
    """Names as UTF-8 JSON in a uint8 tensor, so that a state_dict of tensors alone can hold them."""
    return torch.tensor(list(json.dumps(list(names)).encode("utf-8")), dtype=torch.uint8)


def decode_names(code: Tensor) -> list[str]:
    """The inverse of :func:`encode_names`."""
    return list(json.loads(bytes(code.tolist()).decode("utf-8")))


class _Field(NamedTuple):
    initial: Tensor  # one entry, as a task not seen before has it
    axes: int


class TaskState:
    """Fields with one entry a task (``axes=1``) or a pair of tasks (``axes=2``), addressed by task name.

    A task is given a place when it is first read or written and keeps it; entries of tasks that are not named in
    a call stay as they are. Reading and writing are one indexed copy, whatever the number of tasks.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self._fields: dict[str, _Field] = {}
        self._places: dict[str, int] = {}
        self._last: tuple[tuple[str, ...], Tensor] | None = None  # names and their places: several fields in a step

    def declare(
        self, field: str, initial: float | Tensor = 0.0, *, axes: int = 1, dtype: torch.dtype = torch.float64
    ) -> None:
        """Add a field; ``initial`` is the entry of a task (or pair) not seen before: a number or a tensor."""
        entry = torch.as_tensor(initial, dtype=dtype)
        self._fields[field] = _Field(entry, axes)
        self.tensors[field] = entry.new_empty((0,) * axes + entry.shape)
        self._grow()

    def read(self, field: str, names: Sequence[str]) -> Tensor:
        """A copy of the entries of the k named tasks: ``[k, ...]``, or ``[k, k, ...]`` for pairs."""
        index = self._index(field, names)  # may give new tasks a place
        return self.tensors[field][index]

    def write(self, field: str, names: Sequence[str], values: Tensor) -> None:
        """Replace the entries of the k named tasks by ``values``, shaped as :meth:`read` gives them."""
        index = self._index(field, names)
        stored = self.tensors[field]
        stored[index] = values.detach().to(stored)

    def reset(self, field: str) -> None:
        """Put every task's entry back to that of a task not seen before."""
        stored = self.tensors[field]
        self.tensors[field] = self._fields[field].initial.to(stored).expand_as(stored).clone()

    def restore(self, names: Sequence[str], tensors: dict[str, Tensor]) -> None:
        """Take over saved names and the fields given; copies, on the device the fields are on now."""
        self.names = list(names)
        self._places = {name: i for i, name in enumerate(names)}
        self._last = None
        for field, value in tensors.items():
            self.tensors[field] = value.detach().to(self.tensors[field].device, copy=True)
        self._grow()

    def to(self, device: torch.device) -> None:
        """Move every field; types stay, since a state in half precision would not be the same state."""
        self.tensors = {field: t.to(device) for field, t in self.tensors.items()}

    def _index(self, field: str, names: Sequence[str]) -> tuple[Tensor, ...]:
        new = [name for name in names if name not in self._places]
        if new:
            for name in new:
                self._places[name] = len(self.names)
                self.names.append(name)
            self._grow()
        device = self.tensors[field].device
        if self._last is None or self._last[0] != tuple(names) or self._last[1].device != device:
            places = torch.tensor([self._places[name] for name in names], device=device)
            self._last = (tuple(names), places)
        index = self._last[1]
        return (index[:, None], index) if self._fields[field].axes == 2 else (index,)

    def _grow(self) -> None:
        for field, (initial, axes) in self._fields.items():
            old = self.tensors[field]
            missing = len(self.names) - old.shape[0]
            if missing > 0:
                new = initial.to(old.device).expand((len(self.names),) * axes + initial.shape).clone()
                new[(slice(old.shape[0]),) * axes] = old
                self.tensors[field] = new
