"""What a merge will take, without doing it: disk and memory from the layout, time from a sample of its tensors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ._engine import BLOCK, Engine, default_threads
from ._opened import Opened
from ._reading import Job, Memory, Reading

SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Forecast:
    """What a merge will take.

    Attributes:
        tensors: how many the output has.
        read_bytes: read from all models, every pass counted.
        written_bytes: the room the output takes on the disk.
        memory_bytes: above the interpreter with torch loaded, at most.
        seconds: reading and computing, from a sample of tensors; writing depends on the disk.
        warnings: what a reader of the plan should know.
    """

    tensors: int
    read_bytes: int
    written_bytes: int
    memory_bytes: int
    seconds: float
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def forecast(opened: Opened, *, threads: int | None = None, block: int = BLOCK) -> Forecast:
    """What merging an open plan will take; reads about a second's worth of its tensors and writes nothing."""
    jobs = opened.layout.jobs
    threads = threads or default_threads()
    held = sorted((_held(job, block) for job in jobs), reverse=True)
    read = sum(part.info.bytes * _passes(job) for job in jobs for part in _parts(job))
    return Forecast(
        len(jobs), read, opened.bytes, sum(held[:threads]), _seconds(jobs, threads, block), list(opened.warnings)
    )


def _parts(job: Job) -> Sequence[Any]:
    return (*job.parts, job.base) if job.base is not None else job.parts


def _passes(job: Job) -> int:
    if job.method is None:
        return 1
    small = job.info.entries <= BLOCK  # read once, kept for every pass
    return (1 if small else job.method.passes) + job.method.surveys_for(job.values)


def _held(job: Job, block: int) -> int:
    """Bytes one thread holds while it works on a tensor."""
    if job.method is None:
        return min(block, job.info.entries) * job.info.dtype.itemsize
    size = Reading(job, Memory(), block).size
    copies = len(job.parts) + 2 + job.method.temporaries
    return int(size * copies * job.dtype.itemsize)


class _Nowhere:
    def write(self, name: str, start: int, values: Tensor) -> None:
        """Nothing."""


def _work(job: Job) -> float:
    """In proportion to the time a tensor takes: entries, times the smaller side where it is taken apart whole."""
    shape = job.info.shape
    if job.method is None or len(shape) < 2 or job.method.reach_of(job.name, shape, job.values) != "tensor":
        return job.info.entries + 1.0
    return job.info.entries * min(shape) / 4 + 1.0


def _seconds(jobs: Sequence[Job], threads: int, block: int) -> float:
    """Middle-sized tensors first, for a second; the rest in proportion."""
    middle = sorted(jobs, key=_work)[len(jobs) // 2 :]
    engine = Engine(_Nowhere(), threads=1, block=block)
    done, began = 0.0, time.perf_counter()
    for job in middle:
        engine.run([job])
        done += _work(job)
        if time.perf_counter() - began > SAMPLE_SECONDS:
            break
    return (time.perf_counter() - began) * sum(map(_work, jobs)) / max(done, 1.0) / threads
