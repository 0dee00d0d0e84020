"""What schedules cost: their bookkeeping in a step, SON-GOKU's refreshes over its interval, and the colouring.

The step is a network's, 64 inputs to 512 to 512 to a head a task, batches of 256, AdamW. Times are CPU seconds of one
thread in one process, medians. The accuracy of the edges is that of the graph in force at each step, while the error is
above the noise, on the simulator of ``son-goku`` with 39 tasks whose groups change at half time.

    python benchmarks/schedules.py [--rounds 30] [--seeds 3] [--steps 1200]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.schedule import Gradients, Schedule, Signal, SonGoku, available, colour, create
from sharewise.systems.scheduling import GroupedTasks, edge_accuracy
from sharewise.train._probe import gradient_rows

BOOKKEEPING, REFRESHES, COLOURING = 0.02, 0.25, 50.0
"""The goals: share of a step, share of training time, milliseconds."""
INTERVALS = (16, 32, 64, 160, 320, 640)


class Network(nn.Module):
    """A trunk of two wide layers and a linear head a task."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU())
        self.heads = nn.ModuleDict({f"t{i}": nn.Linear(512, 1) for i in range(tasks)})
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        self.x, self.y = torch.randn(256, 64), torch.randn(256, tasks)

    def losses(self, names: list[str]) -> dict[str, Tensor]:
        z = self.trunk(self.x)
        return {n: (self.heads[n](z).squeeze(1) - self.y[:, int(n[1:])]).square().mean() for n in names}

    def step(self, names: list[str]) -> dict[str, Tensor]:
        losses = self.losses(names)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {n: loss.detach() for n, loss in losses.items()}


def seconds(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def schedule_of(name: str, names: list[str]) -> Schedule:
    options: dict[str, object] = {}
    if name in ("proportional", "square_root", "temperature"):
        options["sizes"] = {n: 10 * (i + 1) for i, n in enumerate(names)}
    if name == "sampled":
        options["proportions"] = {n: 1 / len(names) for n in names}
    if name == "curriculum":
        options["stages"] = [(100, names[:4]), (None, names)]
    if name == "plateau_switch":
        options |= {"min_episodes": 0, "window": 1, "threshold": 0.0, "stretch": 50}
    return create(name, tasks=names, **options)


def bookkeeping(rounds: int, tasks: int = 8) -> dict[str, dict[str, float]]:
    """Deciding and observing against the step they are for, turn by turn; refreshes are not in it."""
    network = Network(tasks)
    names = list(network.heads)
    found = {}
    for name in available():
        schedule = schedule_of(name, names)
        steps, own = [], []
        for step in range(max(100, rounds)):
            began = time.process_time()
            active = schedule.tasks(step)
            decided = time.process_time() - began
            box: dict[str, Tensor] = {}
            steps.append(seconds(lambda active=active, box=box: box.update(network.step(active))))
            signal = Signal(box, parameters=network.parameters())
            told = seconds(lambda s=schedule, k=step, g=signal: s.observe(k, g)) if schedule.uses else 0.0
            own.append(decided + told)
        mean = statistics.fmean(own)  # not the median: a look at the parameters in every 50th step counts
        found[name] = {"microseconds": 1e6 * mean, "share": mean / statistics.median(steps)}
    return found


def refreshes(rounds: int, tasks: int = 40, classes: int = 3) -> dict[str, float]:
    """Seconds of a step of one class and of a refresh in both forms, turn by turn."""
    network = Network(tasks)
    names = list(network.heads)
    shared = list(network.trunk.parameters())
    active = names[: -(-tasks // classes)]
    exact, means = SonGoku(names, beta=0.0, refresh=1), SonGoku(names, sketch=256, refresh=1)

    def by_gram(step: int) -> None:
        gram = sw.balance.measure(network.losses(names), shared=shared).gram
        exact.observe(step, Signal(gradients=Gradients(tuple(names), gram=gram)))

    def by_rows(step: int) -> None:
        rows = gradient_rows(network.losses(names), shared, None)
        means.observe(step, Signal(gradients=Gradients(tuple(names), rows=rows)))

    times: dict[str, list[float]] = {"step": [], "gram": [], "rows": []}
    for step in range(rounds):
        times["step"] += [seconds(lambda: network.step(active)) for _ in range(3)]
        times["gram"].append(seconds(lambda step=step: by_gram(step)))
        times["rows"].append(seconds(lambda step=step: by_rows(step)))
    return {name: statistics.median(values) for name, values in times.items()}


def accuracy(interval: int, steps: int, seed: int) -> float:
    """Of the graph in force, mean over the steps at which the error is above the noise."""
    problem = GroupedTasks(seed, batch=128, rate=0.004, members=13)
    schedule = SonGoku(problem.names, refresh=interval, tau=0.15, tau_start=0.15)
    seen = []
    for step in range(steps):
        if step == steps // 2:
            problem.change()
        if schedule.probes(step):
            rows = problem.gradients(problem.names)
            schedule.observe(step, Signal(gradients=Gradients(tuple(problem.names), rows=rows)))
        active = schedule.tasks(step)
        problem.step(active, problem.gradients(active).sum(0))
        if problem.excess() > 0.09:
            seen.append(edge_accuracy(schedule.edges, problem.true_edges()))
    return statistics.fmean(seen)


def colouring(rounds: int, tasks: int = 500, density: float = 0.3) -> float:
    """Milliseconds to colour a random graph, median."""
    upper = (torch.rand(tasks, tasks, generator=torch.Generator().manual_seed(0)) < density).triu(1)
    return 1000 * statistics.median(seconds(lambda: colour(upper | upper.T)) for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = bookkeeping(options.rounds)
    print(f"{'bookkeeping, 8 tasks':<24}{'us a step':>12}{'of the step':>14}   goal < {BOOKKEEPING:.0%}")
    for name, found in kept.items():
        print(f"{name:<24}{found['microseconds']:>12.1f}{found['share']:>14.2%}")
    times = refreshes(max(3, options.rounds // 3))
    print(
        f"\na step of 14 of 40 tasks {1000 * times['step']:.1f} ms; a refresh from the Gram matrix "
        f"{1000 * times['gram']:.1f} ms, from sketched rows {1000 * times['rows']:.1f} ms"
    )
    default = SonGoku([f"t{i}" for i in range(40)]).refresh
    print(
        f"{'refresh every':>14}{'Gram, of all time':>20}{'rows, of all time':>20}{'edges right':>14}"
        f"   goal < {REFRESHES:.0%} at {default}"
    )
    curve = {}
    for interval in INTERVALS:
        share = {form: times[form] / (times[form] + interval * times["step"]) for form in ("gram", "rows")}
        edges = statistics.fmean(accuracy(interval, options.steps, seed) for seed in range(options.seeds))
        curve[interval] = share | {"edges": edges}
        print(f"{interval:>14}{share['gram']:>20.1%}{share['rows']:>20.1%}{edges:>14.3f}")
    milliseconds = colouring(max(3, options.rounds // 3))
    print(f"\ncolouring 500 tasks: {milliseconds:.1f} ms   goal < {COLOURING:.0f} ms")
    report = {"bookkeeping": kept, "times": times, "default": default, "curve": curve, "colouring_ms": milliseconds}
    print(json.dumps({"benchmark": "schedules", "results": report}))


if __name__ == "__main__":
    main()
