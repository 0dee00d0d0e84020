"""The engine: reads each tensor's blocks from all models, lets the method combine them, writes them.

Nothing is whole in memory but what a method asks for whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import MergeError
from ._method import Block
from ._reading import Job, Memory, Reading
from ._writer import Writer

BLOCK = 2**18
"""Entries of a block: 1 MB a model in float32, so that a few of them stay in a core's cache."""
_AS_WIDE = (torch.float32, torch.float64, torch.bfloat16)
"""Kinds that overflow only where float32 does."""


class Observer(Protocol):
    """Sees every merged block beside the rows it was made of; in order within a tensor, tensors from any thread."""

    def observe(self, job: Job, rows: Tensor, merged: Tensor) -> None:
        """``rows`` ``[n, ...]`` as the method saw them, ``merged`` what it returned."""
        ...


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
            base = reading.base if job.base is not None else None
            if base is not None:
                merged = merged.reshape(-1).add(base)
            self._write(job, block, merged, base)

    def _copy(self, job: Job) -> None:
        part = job.parts[0]
        for start in range(0, job.info.entries, self.block):
            out = torch.empty(min(self.block, job.info.entries - start), dtype=job.info.dtype)
            part.source.read(part.tensor, start, out)
            self.writer.write(job.name, start, out)
            self._tell(job, out)

    def _write(self, job: Job, block: Block, merged: Tensor, base: Tensor | None) -> None:
        out = merged.reshape(-1).to(job.info.dtype)
        seen = merged if out.dtype in _AS_WIDE else out.float()
        if not bool(seen.sum().isfinite()):
            _explain(job, block, out, base)
        self.writer.write(job.name, block.start, out)
        self._tell(job, out)

    def _tell(self, job: Job, out: Tensor) -> None:
        if self.progress is not None:
            with self._lock:
                self._done += out.numel() * out.element_size()
                self.progress(self._done, self._total, job.name)


def _explain(job: Job, block: Block, out: Tensor, base: Tensor | None) -> None:
    """Raise for values that are not finite: whose they are, or that they overflowed. A sum that overflows is fine."""
    if bool(out.isfinite().all()):
        return
    given = [*([(job.base, base)] if job.base is not None else []), *zip(job.parts, block.rows, strict=True)]
    for part, values in given:
        if values is not None and not bool(values.isfinite().all()):
            raise MergeError(
                f'tensor "{part.tensor}" of model "{part.source.name}" has values that are not finite (NaN or infinite)'
                ": leave the model out, or exclude the tensor"
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
