"""A process for each side of a comparison: they take steps in turn, and each has a peak memory of its own."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from backward_modes import Problem

Step = Callable[[], object]
Make = Callable[[Problem], Step]


class Worker:
    """A forked process, so that libraries are loaded once; it holds the model and waits for its turn.

    ``failed`` says why a side cannot take a step; it then takes no more.
    """

    def __init__(self, make: Make, model: str, tasks: int) -> None:
        context = get_context("fork")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, model, tasks), daemon=True)
        self._process.start()
        there.close()
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.failed: str | None = None

    def step(self, counts: bool) -> None:
        """Take a step; its times count unless it warms up."""
        found = self._ask("step")
        if found is not None and counts:
            self.cpu.append(found[0])
            self.wall.append(found[1])

    def end(self) -> float:
        """Peak megabytes above those before the first step; the process ends."""
        found = self._ask("end")
        self._process.join()
        return float("nan") if found is None else found[0]

    def _ask(self, what: str) -> tuple[float, ...] | None:
        if self.failed is not None:
            return None
        with suppress(BrokenPipeError):  # it has ended, but may have left word why
            self._pipe.send(what)
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            answer = "the process ended"
        if isinstance(answer, str):
            self.failed = answer
            return None
        return tuple(answer)


def _serve(pipe: Connection, make: Make, model: str, tasks: int) -> None:
    warnings.filterwarnings("ignore", message=".*DPP.*")  # cvxpy, on how the peers state Nash-MTL
    warnings.filterwarnings("ignore", message="Solution may be inaccurate.*")  # the same
    torch.manual_seed(0)
    try:
        step = make(Problem(model, tasks))
        before = memory("VmRSS")
        while pipe.recv() == "step":
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            pipe.send((time.process_time() - cpu, time.perf_counter() - wall))
        pipe.send((memory("VmHWM") - before,))
    except Exception as error:
        first = (str(error).strip() or "no message").splitlines()[0]
        pipe.send(f"{type(error).__name__}: {first[:120]}")


def memory(which: str) -> float:
    """Megabytes of this process, now (``VmRSS``) or at most so far (``VmHWM``; a fork starts anew); Linux."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")
