"""What MAdam, SAM and SAGE cost: time of a whole step against the same step of Adam, and state a parameter.

Three tasks on a network of three hidden layers. All variants of one width, batch and balancer take turns, step by step;
medians and minima of CPU time on one thread are compared.

    python benchmarks/optimizers.py [--widths 256,512] [--batches 64,256] [--rounds 15]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.balance import create
from sharewise.optim import SAGE, SAM, MAdam, TaskOptimizer

GOAL = 1.3
TASKS = ["a", "b", "c"]


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.heads = nn.ModuleDict({t: nn.Linear(width, 1) for t in TASKS})

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        z = self.trunk(x)
        return {t: (self.heads[t](z)[:, 0] - x[:, i]).square().mean() for i, t in enumerate(TASKS)}


def one_step(method: str, mode: str, make: Callable[[nn.Module], torch.optim.Optimizer], width: int, x: Tensor):
    """A function that takes a whole step, and its optimizer."""
    torch.manual_seed(0)
    model = Net(width)
    optimizer, balancer = make(model), create(method, tasks=TASKS)
    ours = isinstance(optimizer, TaskOptimizer)

    def step() -> None:
        optimizer.zero_grad()
        if ours and optimizer.two_pass:
            torch.stack(list(model.losses(x).values())).mean().backward()
        with optimizer.perturbed(model) if ours else nullcontext():
            rows = optimizer.rows(TASKS) if ours else False
            balance = sw.backward(model.losses(x), balancer, shared=model.trunk, rows=rows, mode=mode)
        optimizer.step(balance) if ours else optimizer.step()

    return step, optimizer, model


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-4)


VARIANTS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adam": adam,
    "madam": lambda model: MAdam(adam(model), TASKS),
    "madam, sampled": lambda model: MAdam(adam(model), TASKS, pairs="sampled"),
    "sam": lambda model: SAM(adam(model)),
    "sage": lambda model: SAGE(adam(model)),
}
CASES = (("pcgrad", "loop"), ("pcgrad", "auto"), ("equal", "auto"))


def state_numbers(optimizer: torch.optim.Optimizer, model: Net) -> float:
    """Numbers kept a shared parameter."""
    state = copy.deepcopy(optimizer.state_dict())
    shared = sum(p.numel() for p in model.trunk.parameters())
    ids = {i for i, p in enumerate(model.parameters()) if any(p is q for q in model.trunk.parameters())}
    held = sum(v.numel() for i, s in state["state"].items() if i in ids for k, v in s.items() if k != "step")
    held += sum(b.numel() for b in state.get("sharewise", {}).get("blocks", {}).values())
    return held / shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="256,512")
    parser.add_argument("--batches", default="64,256")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    print(f"one thread, 3 tasks; times of a whole step over that of Adam, median (minimum); goal for madam <= {GOAL}")
    head = f"{'balancer':>9} {'mode':>5} {'width':>6} {'batch':>6} {'adam, ms':>9}  "
    print(head + "  ".join(f"{v:>18}" for v in VARIANTS))
    for width in map(int, options.widths.split(",")):
        for rows in map(int, options.batches.split(",")):
            x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))
            for method, mode in CASES:
                made = {name: one_step(method, mode, make, width, x) for name, make in VARIANTS.items()}
                times: dict[str, list[float]] = {name: [] for name in made}
                for turn in range(options.rounds + 3):
                    for name, (step, _, _) in made.items():
                        began = time.process_time()
                        step()
                        if turn >= 3:
                            times[name].append(time.process_time() - began)
                middle = {name: statistics.median(t) for name, t in times.items()}
                least = {name: min(t) for name, t in times.items()}
                ratios = {n: (middle[n] / middle["adam"], least[n] / least["adam"]) for n in made}
                cells = "  ".join(f"{a:>10.2f} ({b:.2f})" for a, b in ratios.values())
                print(f"{method:>9} {mode:>5} {width:>6} {rows:>6} {1e3 * middle['adam']:>9.2f}  {cells}", flush=True)
                results.append({"balancer": method, "mode": mode, "width": width, "batch": rows, "ratios": ratios})
    memory = {name: state_numbers(optimizer, model) for name, (_, optimizer, model) in made.items()}
    print("numbers kept a shared parameter: " + ", ".join(f"{n} {v:.2f}" for n, v in memory.items()))
    print(json.dumps({"benchmark": "optimizers", "results": results, "state": memory}))


if __name__ == "__main__":
    main()
