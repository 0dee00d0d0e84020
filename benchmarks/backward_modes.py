"""What per-task gradients cost: ``sw.backward`` against a bare loop of ``torch.autograd.grad`` calls.

A shared MLP (256-1024-1024-1024, 2.36 million shared parameters, batch 64) with a linear head a task. The bare loop
takes one gradient of the shared parameters a task and copies it into one matrix, and decides nothing; ours also takes
the heads' gradients, finds the shared parameters in the graph, and, as a full step, builds the Gram matrix, runs PCGrad
and fills ``.grad``. All take turns in one process; the fastest and the middle of the rounds are compared. Memory is
the peak of a fresh process above that of plain training (one backward pass of the sum) there.

    python benchmarks/backward_modes.py [--tasks 2,10,40] [--rounds 7] [--width 1024]
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.balance import create
from sharewise.balance._take import take_rows

HOW = ("plain sum", "bare loop", "loop, rows only", "loop", "batched")


class Problem:
    """The model, one batch and a step of every kind."""

    def __init__(self, tasks: int, width: int) -> None:
        torch.manual_seed(0)
        sizes = [256, width, width, width]
        layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList([nn.Linear(width, 1) for _ in range(tasks)])
        self.x, self.y = torch.randn(64, 256), torch.randn(tasks, 64)
        self.shared = list(self.trunk.parameters())
        self.count = sum(p.numel() for p in self.shared)
        self.balancer = create("pcgrad")

    def losses(self) -> dict[str, Tensor]:
        z = self.trunk(self.x)
        return {str(i): (h(z).squeeze(1) - self.y[i]).square().mean() for i, h in enumerate(self.heads)}

    def bare_loop(self) -> None:
        losses = list(self.losses().values())
        matrix = torch.empty(len(losses), self.count)
        for i, loss in enumerate(losses):
            row = torch.autograd.grad(loss, self.shared, retain_graph=i < len(losses) - 1)
            torch.cat([g.reshape(-1) for g in row], out=matrix[i])

    def step(self, how: str) -> Callable[[], object]:
        if how == "plain sum":
            return lambda: sum(self.losses().values()).backward()
        if how == "bare loop":
            return self.bare_loop
        if how == "loop, rows only":
            return lambda: take_rows(list(self.losses().values()), None, None, mode="loop")
        return lambda: sw.backward(self.losses(), self.balancer, mode=how)

    def clear(self) -> None:
        self.trunk.zero_grad()
        self.heads.zero_grad()


def times(tasks: int, width: int, rounds: int) -> dict[str, list[float]]:
    problem = Problem(tasks, width)
    seconds: dict[str, list[float]] = {how: [] for how in HOW}
    for turn in range(rounds + 1):
        for how in HOW:
            step = problem.step(how)
            began = time.perf_counter()
            step()
            spent = time.perf_counter() - began
            problem.clear()
            if turn:  # the first turn warms up
                seconds[how].append(spent)
    return seconds


def peak(how: str, tasks: int, width: int) -> float:
    """Peak megabytes above plain training, in a process of its own."""
    command = [sys.executable, __file__, "--peak", how, "--tasks", str(tasks), "--width", str(width)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def most_memory() -> float:
    """Megabytes this process held at most so far (Linux; ``ru_maxrss`` of a child starts at its parent's)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def measure_peak(how: str, tasks: int, width: int) -> None:
    problem = Problem(tasks, width)
    held = []
    for name in ("plain sum", how):
        for _ in range(2):
            problem.step(name)()
            problem.clear()
        held.append(most_memory())
    print(held[1] - held[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="2,10,40")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        measure_peak(options.peak, int(options.tasks), options.width)
        return
    print(
        f"{torch.get_num_threads()} threads; times against the bare loop, memory against one matrix [tasks, parameters]"
    )
    columns = ("ms, min", "median", "ratio min", "median", "peak MB", "matrices")
    print(f"{'tasks':>5} {'how':<16}" + "".join(f"{c:>10}" for c in columns))
    report = {}
    for tasks in map(int, options.tasks.split(",")):
        seconds = times(tasks, options.width, options.rounds)
        matrix = tasks * Problem(tasks, options.width).count * 4 / 2**20
        for how in HOW:
            low, middle = min(seconds[how]), statistics.median(seconds[how])
            ratios = low / min(seconds["bare loop"]), middle / statistics.median(seconds["bare loop"])
            memory = 0.0 if how == "plain sum" else peak(how, tasks, options.width)
            numbers = (1e3 * low, 1e3 * middle, *ratios, memory, memory / matrix)
            shown = "".join(f"{v:>10.{d}f}" for v, d in zip(numbers, (1, 1, 2, 2, 0, 2), strict=True))
            print(f"{tasks:>5} {how:<16}{shown}", flush=True)
            report[f"{tasks} {how}"] = {
                "ms": 1e3 * low,
                "ratio": ratios[0],
                "peak_mb": memory,
                "matrices": memory / matrix,
            }
    print(json.dumps({"benchmark": "backward_modes", "threads": torch.get_num_threads(), "results": report}))


if __name__ == "__main__":
    main()
