"""What per-task gradients cost: the modes of ``sw.backward`` against a bare loop of ``torch.autograd.grad`` calls.

Three shared trunks with a linear head a task: an MLP (256-1024-1024-1024, 2.36 million parameters, batch 64), an
encoder of four transformer layers (width 128, 16 sequences of 32), and a ConvNet (five layers, 32 images of 16 x 16).
The bare loop takes one gradient of the shared parameters a task and copies it into one matrix, and decides nothing;
ours also takes the heads' gradients, finds the shared parameters in the graph, and, as a full step, builds the Gram
matrix, runs PCGrad and fills ``.grad``. "loop, rows only" takes rows as the bare loop does. "disjoint" shares the
examples out among the tasks, and is compared with a plain backward pass of the same; so is "apart", where each task
has a forward pass of its own on its share. If TorchJD is installed (extra ``bench``), its best setting takes a full
PCGrad step.

All take turns in one process; the fastest and the middle of the rounds are compared. Memory is the peak of a fresh
process above that of plain training (one backward pass of the sum) there.

    python benchmarks/backward_modes.py [--models mlp,transformer,convnet] [--tasks 2,10,40] [--rounds 7] [--cpu]
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
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.balance import create
from sharewise.balance._take import take_rows

AGAINST_LOOP = ("plain sum", "bare loop", "loop, rows only", "loop", "batched", "auto", "TorchJD")
AGAINST_PLAIN = ("plain, shared out", "disjoint", "plain, apart", "apart")
MEASURED = ("bare loop", "loop", "auto", "TorchJD")  # whose memory is looked at


class Flat(nn.Module):
    """The mean over a sequence, or over the places of an image, of what the layers give."""

    def __init__(self, *layers: nn.Module, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self.axes = nn.Sequential(*layers), axes

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean(self.axes)


def mlp(width: int = 1024) -> tuple[nn.Module, Tensor]:
    sizes = [256, width, width, width]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(64, 256)


def transformer() -> tuple[nn.Module, Tensor]:
    layers = [nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True) for _ in range(4)]
    return Flat(*layers, axes=(1,)), torch.randn(16, 32, 128)


def convnet() -> tuple[nn.Module, Tensor]:
    sizes, strides = [3, 32, 64, 128, 128, 256], [1, 2, 2, 1, 2]
    pairs = zip(itertools.pairwise(sizes), strides, strict=True)
    layers = [m for (a, b), s in pairs for m in (nn.Conv2d(a, b, 3, stride=s, padding=1), nn.ReLU())]
    return Flat(*layers, axes=(2, 3)), torch.randn(32, 3, 16, 16)


MODELS = {"mlp": mlp, "transformer": transformer, "convnet": convnet}


class Problem:
    """The model, one batch and a step of every kind."""

    def __init__(self, model: str, tasks: int) -> None:
        torch.manual_seed(0)
        self.trunk, self.x = MODELS[model]()
        width = self.trunk(self.x[:2]).shape[1]
        self.heads = nn.ModuleList([nn.Linear(width, 1) for _ in range(tasks)])
        self.y = torch.randn(tasks, len(self.x))
        self.owner = torch.arange(len(self.x)) % tasks
        self.shared = list(self.trunk.parameters())
        self.count = sum(p.numel() for p in self.shared)
        self.balancers: dict[str, sw.balance.Balancer] = {}

    def losses(self, z: Tensor | None = None) -> dict[str, Tensor]:
        z = self.trunk(self.x) if z is None else z
        return {str(i): (h(z).squeeze(1) - self.y[i]).square().mean() for i, h in enumerate(self.heads)}

    def shared_out(self) -> dict[str, Tensor]:
        """Each example of the batch belongs to one task (with more tasks than examples, to the first ones)."""
        z, found = self.trunk(self.x), {}
        for i, head in enumerate(self.heads[: len(self.x)]):
            mine = self.owner == i
            found[str(i)] = (head(z[mine]).squeeze(1) - self.y[i, mine]).square().mean()
        return found

    def apart(self) -> dict[str, Tensor]:
        """The same, with a forward pass a task."""
        found = {}
        for i, head in enumerate(self.heads[: len(self.x)]):
            mine = self.owner == i
            found[str(i)] = (head(self.trunk(self.x[mine])).squeeze(1) - self.y[i, mine]).square().mean()
        return found

    def bare_loop(self, losses: dict[str, Tensor]) -> None:
        matrix = torch.empty(len(losses), self.count)
        for i, loss in enumerate(losses.values()):
            row = torch.autograd.grad(loss, self.shared, retain_graph=i < len(losses) - 1)
            torch.cat([g.reshape(-1) for g in row], out=matrix[i])

    def peer(self, z: Tensor) -> None:
        from torchjd.aggregation import PCGrad
        from torchjd.autojac import jac_to_grad, mtl_backward

        mtl_backward(list(self.losses(z).values()), features=z)
        jac_to_grad(self.shared, PCGrad(), optimize_gramian_computation=True)

    def step(self, how: str) -> tuple[Callable[[], object], Callable[[object], object]]:
        """A forward pass, and what is timed after it."""
        plain = lambda losses: sum(losses.values()).backward()  # noqa: E731
        balancer = self.balancers.setdefault(how, create("pcgrad"))  # each keeps its memory from step to step
        balanced = lambda mode: lambda losses: sw.backward(losses, balancer, mode=mode)  # noqa: E731
        return {
            "plain sum": (self.losses, plain),
            "bare loop": (self.losses, self.bare_loop),
            "loop, rows only": (self.losses, lambda ls: take_rows(list(ls.values()), None, None, mode="loop")),
            "loop": (self.losses, balanced("loop")),
            "batched": (self.losses, balanced("batched")),
            "auto": (self.losses, balanced("auto")),
            "TorchJD": (lambda: self.trunk(self.x), self.peer),
            "plain, shared out": (self.shared_out, plain),
            "disjoint": (self.shared_out, balanced("disjoint")),
            "plain, apart": (self.apart, plain),
            "apart": (self.apart, balanced("auto")),
        }[how]

    def clear(self) -> None:
        self.trunk.zero_grad()
        self.heads.zero_grad()


def known(names: tuple[str, ...]) -> list[str]:
    """Without the peer where it is not installed."""
    return [name for name in names if name != "TorchJD" or find_spec("torchjd")]


def times(model: str, tasks: int, rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    problem = Problem(model, tasks)
    hows = known(AGAINST_LOOP + AGAINST_PLAIN)
    seconds: dict[str, list[float]] = {how: [] for how in hows}
    for turn in range(rounds + 1):
        for how in hows:
            forward, rest = problem.step(how)
            ready = forward()
            began = clock()
            rest(ready)
            spent = clock() - began
            problem.clear()
            if turn:  # the first turn warms up
                seconds[how].append(spent)
    return seconds


def peak(how: str, model: str, tasks: int) -> float:
    """Peak megabytes above plain training, in a process of its own."""
    command = [sys.executable, __file__, "--peak", how, "--tasks", str(tasks), "--models", model]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def most_memory() -> float:
    """Megabytes this process held at most so far (Linux; ``ru_maxrss`` of a child starts at its parent's)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def measure_peak(how: str, model: str, tasks: int) -> None:
    problem = Problem(model, tasks)
    held = []
    for name in ("plain sum", how):
        for _ in range(2):
            forward, rest = problem.step(name)
            rest(forward())
            problem.clear()
        held.append(most_memory())
    print(held[1] - held[0])


def report(
    model: str, tasks: int, rounds: int, clock: Callable[[], float], memory: bool
) -> dict[str, dict[str, float]]:
    seconds = times(model, tasks, rounds, clock)
    matrix = tasks * Problem(model, tasks).count * 4 / 2**20
    found = {}
    for how, values in seconds.items():
        floor = "bare loop" if how in AGAINST_LOOP else "plain, apart" if "apart" in how else "plain, shared out"
        low, middle = min(values), statistics.median(values)
        numbers = {
            "ms": 1e3 * low,
            "median": 1e3 * middle,
            "ratio": low / min(seconds[floor]),
            "ratio of medians": middle / statistics.median(seconds[floor]),
            "peak_mb": peak(how, model, tasks) if memory and how in MEASURED else float("nan"),
        }
        numbers["matrices"] = numbers["peak_mb"] / matrix
        shown = "".join(f"{v:>10.{d}f}" for v, d in zip(numbers.values(), (1, 1, 2, 2, 0, 2), strict=True))
        print(f"{model:<12}{tasks:>5} {how:<18}{shown}", flush=True)
        found[how] = {k: v for k, v in numbers.items() if v == v}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tasks", default="2,10,40")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="CPU time of one thread: repeatable on a busy machine")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        measure_peak(options.peak, options.models, int(options.tasks))
        return
    if options.cpu:
        torch.set_num_threads(1)
    clock = time.process_time if options.cpu else time.perf_counter
    print(f"{torch.get_num_threads()} threads; forward passes are not timed; ratios to the bare loop or the plain pass")
    columns = ("ms, min", "median", "ratio min", "median", "peak MB", "matrices")
    print(f"{'':<17} {'how':<18}" + "".join(f"{c:>10}" for c in columns))
    results = {
        f"{model} {tasks}": report(model, int(tasks), options.rounds, clock, not options.no_memory)
        for model in options.models.split(",")
        for tasks in options.tasks.split(",")
    }
    print(json.dumps({"benchmark": "backward_modes", "threads": torch.get_num_threads(), "results": results}))


if __name__ == "__main__":
    main()
