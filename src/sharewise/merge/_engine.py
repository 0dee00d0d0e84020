"""The engine: reads each tensor's blocks from all models, lets the method combine them, writes them.

Nothing is whole in memory but what a method asks for whole.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import MergeError
from ._method import Block, Method
from ._sources import Source
from ._statistics import Collected, beside
from ._tensorfile import TensorInfo
from ._writer import Writer

BLOCK = 2**18
"""Entries of a block: 1 MB a model in float32, so that a few of them stay in a core's cache."""
_AS_WIDE = (torch.float32, torch.float64, torch.bfloat16)
"""Kinds that overflow only where float32 does."""


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


class Observer(Protocol):
    """Sees every merged block beside the rows it was made of; in order within a tensor, tensors from any thread."""

    def observe(self, job: Job, rows: Tensor, merged: Tensor) -> None:
        """``rows`` ``[n, ...]`` as the method saw them, ``merged`` what it returned."""
        ...


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


class Engine:
    """Does jobs in threads, the largest first.

    Args:
        writer: where merged tensors go.
        threads: how many tensors are worked on at once; the cores of the machine by default, at most four.
        block: entries of a block; changes speed and memory, never a result.
        observer: sees every block.
        progress: called with bytes written, bytes in all, and a tensor's name.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        threads: int | None = None,
        block: int = BLOCK,
        observer: Observer | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        self.writer, self.block, self.observer, self.progress = writer, block, observer, progress
        self.threads = threads or default_threads()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self.decisions: Any = None
        """What the method decided for the model as a whole, after :meth:`run`."""

    def run(self, jobs: Sequence[Job]) -> None:
        """All jobs, or the first error any of them meets; raises :class:`MergeError` or :class:`OSError`."""
        self._total = sum(job.info.bytes for job in jobs)
        self._done = 0
        memory = Memory()
        with one_thread_each():
            surveyed = self._survey(jobs, memory)
            self._all(lambda job: self._do(job, memory, surveyed), jobs)

    def _survey(self, jobs: Sequence[Job], memory: Memory) -> Any:
        asked = [job for job in jobs if job.method is not None and job.method.surveys_for(job.values)]
        if not asked:
            return None
        found: dict[str, Any] = {}

        def ask(job: Job) -> None:
            assert job.method is not None
            found[job.name] = job.method.survey(Reading(job, memory, self.block))

        self._all(ask, asked)
        method = asked[0].method
        assert method is not None
        gathered = method.gather({job.name: found[job.name] for job in asked})
        self.decisions = method.decisions(gathered)
        return gathered

    def _all(self, work: Callable[[Job], None], jobs: Sequence[Job]) -> None:
        order = sorted(jobs, key=lambda job: -job.info.bytes)
        pool = ThreadPoolExecutor(self.threads)
        try:
            running = [pool.submit(self._guarded, work, job) for job in order]
            wait(running, return_when=FIRST_EXCEPTION)
            for future in running:
                if future.done():
                    future.result()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._stop.clear()

    def _guarded(self, work: Callable[[Job], None], job: Job) -> None:
        if not self._stop.is_set():
            work(job)

    def _do(self, job: Job, memory: Memory, surveyed: Any) -> None:
        if job.method is None:
            self._copy(job)
            return
        reading = Reading(job, memory, self.block, surveyed)
        state = job.method.prepare(reading)
        for block in reading.blocks():
            if self._stop.is_set():
                return
            merged = job.method.combine(block, state)
            if self.observer is not None:
                self.observer.observe(job, block.rows, merged)
            if job.base is not None:
                merged = merged.reshape(-1).add(reading.base)
            self._write(job, block, merged)

    def _copy(self, job: Job) -> None:
        part = job.parts[0]
        for start in range(0, job.info.entries, self.block):
            out = torch.empty(min(self.block, job.info.entries - start), dtype=job.info.dtype)
            part.source.read(part.tensor, start, out)
            self.writer.write(job.name, start, out)
            self._tell(job, out)

    def _write(self, job: Job, block: Block, merged: Tensor) -> None:
        out = merged.reshape(-1).to(job.info.dtype)
        seen = merged if out.dtype in _AS_WIDE else out.float()
        if not bool(seen.sum().isfinite()):
            _explain(job, block, out)
        self.writer.write(job.name, block.start, out)
        self._tell(job, out)

    def _tell(self, job: Job, out: Tensor) -> None:
        if self.progress is not None:
            with self._lock:
                self._done += out.numel() * out.element_size()
                self.progress(self._done, self._total, job.name)


def _explain(job: Job, block: Block, out: Tensor) -> None:
    """Raise for values that are not finite: whose they are, or that they overflowed. A sum that overflows is fine."""
    if bool(out.isfinite().all()):
        return
    for part, row in zip(job.parts, block.rows, strict=True):
        if not bool(row.isfinite().all()):
            raise MergeError(
                f'tensor "{part.tensor}" of model "{part.source.name}" (or of the base) has values that are not finite:'
                " leave the model out, or take the tensor from another by a filter"
            )
    kind = str(job.info.dtype).removeprefix("torch.")
    raise MergeError(f'tensor "{job.name}": merged values leave the range of {kind}: lower weights, or set out_dtype')


def default_threads() -> int:
    """As many as cores are ours, at most four: more only wait for the disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """The engine's threads are the parallelism: torch's own would only wait for each other."""
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)
