"""One tensor of the output: of what it is made, and the values of that, block by block."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ._method import Block, Method
from ._sources import Source
from ._statistics import Collected, beside
from ._tensorfile import TensorInfo


@dataclass(frozen=True)
class Part:
    """A tensor of one model, and where that model's statistics are."""

    source: Source
    tensor: str
    statistics: Source | None = None

    @property
    def info(self) -> TensorInfo:
        """Its dtype and shape."""
        return self.source.tensors[self.tensor]


@dataclass(frozen=True)
class Job:
    """One tensor of the output: of what it is made, and how."""

    name: str
    info: TensorInfo
    parts: tuple[Part, ...]
    base: Part | None
    method: Method | None
    """``None``: copied from the first part."""
    values: Mapping[str, Any] = field(default_factory=dict)
    depth: tuple[int, int] = (0, 1)
    """Which layer of how many; ``(-1, n)`` outside of the layers."""

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in: float64 if any part is, else float32."""
        wide = any(p.info.dtype == torch.float64 for p in (*self.parts, *([self.base] if self.base else [])))
        return torch.float64 if wide else torch.float32


class Reading:
    """A :class:`~sharewise.merge.Stack`: the values of one tensor, block by block, in a buffer used again and again."""

    def __init__(self, job: Job, memory: Memory, block: int, surveyed: Any = None) -> None:
        assert job.method is not None
        self.job, self.name, self.shape = job, job.name, job.parts[0].info.shape
        self.models = tuple(part.source.name for part in job.parts)
        self.values, self.depth, self.dtype, self.surveyed = job.values, job.depth, job.dtype, surveyed
        self.entries = math.prod(self.shape)
        self.reach = job.method.reach_of(job.name, self.shape, job.values)
        self.columns = math.prod(self.shape[1:]) if len(self.shape) > 1 else self.entries
        self.size = self._size(block)
        self._memory, self._held = memory, -1
        seed = int(job.values.get("seed", 0))
        self.generators = [_generator(seed, job.name, i) for i in range(len(job.parts))]

    def _size(self, block: int) -> int:
        if self.reach == "tensor" or self.entries <= block:
            return max(self.entries, 1)
        if self.reach == "rows":
            return max(block // self.columns, 1) * self.columns
        return block

    def blocks(self) -> Iterator[Block]:
        """See :class:`~sharewise.merge.Stack`."""
        for start in range(0, self.entries, self.size):
            yield self._load(start)

    def statistic(self, leaf: str | None = None, models: Sequence[int] | None = None) -> Collected | None:
        """See :class:`~sharewise.merge.Stack`."""
        parts = self.job.parts if models is None else [self.job.parts[i] for i in models]
        found = [(p.statistics, beside(p.tensor, leaf)) for p in parts if p.statistics is not None]
        whole = len(found) == len(parts) and all(name in source.tensors for source, name in found)
        return Collected(found) if whole else None

    def companion(self, leaf: str) -> Tensor | None:
        """See :class:`~sharewise.merge.Stack`."""
        parts = [(p.source, beside(p.tensor, leaf)) for p in (*self.job.parts, self.job.base) if p is not None]
        if any(name not in source.tensors for source, name in parts):
            return None
        values = torch.stack([source.whole(name, self.dtype) for source, name in parts])
        return values if self.job.base is None else values[:-1] - values[-1]

    def _load(self, start: int) -> Block:
        count = min(self.size, self.entries - start)
        rows, base = self._memory.rows(len(self.job.parts), self.size, self.dtype)
        rows, self.base = rows[:, :count], base[:count]
        if self._held != start:
            if self.job.base is not None:
                self.job.base.source.read(self.job.base.tensor, start, self.base)
            for part, row in zip(self.job.parts, rows, strict=True):
                part.source.read(part.tensor, start, row)
                if self.job.base is not None:
                    row.sub_(self.base)
            self._held = start
        shaped = rows if self.reach == "entries" else rows.view(len(rows), *self._shape_of(count))
        return Block(shaped, start, self)

    def _shape_of(self, count: int) -> tuple[int, ...]:
        if self.reach == "tensor":
            return self.shape
        return (count // self.columns, self.columns) if self.columns else (0, 0)


class Memory(threading.local):
    """The buffers of one thread."""

    def __init__(self) -> None:
        self._flat: dict[torch.dtype, Tensor] = {}

    def rows(self, models: int, entries: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Room for ``[models, entries]`` and the base ``[entries]``; the same as last time where it suffices."""
        need = (models + 1) * entries
        flat = self._flat.get(dtype)
        if flat is None or flat.numel() < need:
            self._flat.pop(dtype, None)
            flat = self._flat[dtype] = torch.empty(need, dtype=dtype)
        return flat[: models * entries].view(models, entries), flat[models * entries : need]


def _generator(seed: int, name: str, model: int) -> torch.Generator:
    """Draws depend on the seed, the tensor and the model's place alone: not on blocks, threads or other tensors."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{model}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
