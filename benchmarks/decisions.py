"""What a balancer's decision costs: weights from a ready Gram matrix, against forming the matrix itself.

Every method on the Gram matrix decides for m tasks; the unit is the time of the Gram matrix of m float32 rows of
100,000 parameters. TorchJD's weights of the same name stand beside ours, where it has them (its Nash-MTL gets an m x m
matrix with the same Gram matrix, since it asks for rows). All take turns in one process; the fastest and the middle of
the rounds are compared. A decision of more than a second is timed once.

    python benchmarks/decisions.py [--tasks 2,10,40,100] [--rounds 7] [--columns 100000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable

import torch
import torchjd.aggregation as peers
from torch import Tensor

from sharewise.balance import GramBalancer, available, create
from sharewise.balance._gram import gram_matrix
from sharewise.balance._registry import _BALANCERS

KINDS = ("orthogonal", "conflict")
LEAST, MOST = {"krum": 4}, {"nashmtl": 40}  # tasks the peer takes; its Nash-MTL would need minutes for 100
LONG = 1.0  # seconds; a decision that takes longer is timed once
PEERS: dict[str, Callable[[int], Callable[[Tensor], Tensor]]] = {
    "aligned_mtl": lambda m: peers.AlignedMTLWeighting(),
    "cagrad": lambda m: peers.CAGradWeighting(c=0.5),
    "dualproj": lambda m: peers.DualProjWeighting(),
    "fairgrad": lambda m: peers.FairGradWeighting(alpha=2.0),
    "gradvac": lambda m: peers.GradVacWeighting(),
    "imtl_g": lambda m: peers.IMTLGWeighting(),
    "krum": lambda m: peers.KrumWeighting(n_byzantine=1),
    "mgda": lambda m: peers.MGDAWeighting(),
    "nashmtl": lambda m: peers.NashMTL(n_tasks=m),
    "pcgrad": lambda m: peers.PCGradWeighting(),
    "upgrad": lambda m: peers.UPGradWeighting(),
}


def rows_of(kind: str, m: int, n: int) -> Tensor:
    """Gaussian rows, or 8 mixed directions and noise: cosines of about -0.85 to 0.75, norms of 1 to 30."""
    g = torch.Generator().manual_seed(0)
    if kind == "orthogonal":
        return torch.randn(m, n, generator=g)
    rank = min(m, 8)
    mixing = torch.nn.functional.normalize(torch.randn(m, rank, generator=g), dim=1)
    if m == 2:
        mixing = torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
    rows = mixing @ torch.randn(rank, n, generator=g) + 0.3 * torch.randn(m, n, generator=g)
    return rows * torch.logspace(0, 1.5, m)[:, None] / n**0.5


def decisions(rows: Tensor) -> dict[str, Callable[[], object]]:
    """Every decision on the rows' Gram matrix by name, and the forming of the matrix."""
    m = len(rows)
    gram = gram_matrix([rows])
    single = gram.float()
    root = torch.linalg.cholesky(gram).float()
    steps: dict[str, Callable[[], object]] = {"gram matrix": lambda: gram_matrix([rows])}
    for name in available():
        if not issubclass(_BALANCERS[name], GramBalancer):
            continue
        balancer = create(name, tasks=[str(i) for i in range(m)])
        steps[name] = lambda b=balancer: b.weights(gram)  # type: ignore[misc]
        if name in PEERS and MOST.get(name, m) >= m >= LEAST.get(name, 1):
            weighting, given = PEERS[name](m), root if name == "nashmtl" else single
            steps[f"torchjd {name}"] = lambda w=weighting, g=given: w(g)  # type: ignore[misc]
    return steps


def times(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            if seconds[name] and max(seconds[name]) > LONG:
                continue
            began = time.perf_counter()
            step()
            spent = time.perf_counter() - began
            if turn or spent > LONG:  # the first turn warms up
                seconds[name].append(spent)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="2,10,40,100")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--columns", type=int, default=100_000)
    parser.add_argument("--ours", action="store_true", help="without the peer's decisions")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads; against the Gram matrix of float32 rows of {options.columns:,} columns")
    columns = "".join(f"{c:>11}" for c in ("ms, min", "median", "ratio min"))
    print(f"{'rows':<11}{'tasks':>6} {'decision':<20}{columns}")
    report = {}
    for tasks in map(int, options.tasks.split(",")):
        for kind in KINDS:
            steps = decisions(rows_of(kind, tasks, options.columns))
            if options.ours:
                steps = {name: step for name, step in steps.items() if not name.startswith("torchjd")}
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*DPP.*")  # cvxpy, on how TorchJD states Nash-MTL
                warnings.filterwarnings("ignore", message="Solution may be inaccurate.*")  # the same
                seconds = times(steps, options.rounds)
            unit = min(seconds["gram matrix"])
            for name, spent in seconds.items():
                low, middle = min(spent), statistics.median(spent)
                shown = f"{1e3 * low:>11.3f}{1e3 * middle:>11.3f}{low / unit:>11.2f}"
                print(f"{kind:<11}{tasks:>6} {name:<20}{shown}", flush=True)
                report[f"{kind} {tasks} {name}"] = {"ms": 1e3 * low, "median_ms": 1e3 * middle, "ratio": low / unit}
    print(json.dumps({"benchmark": "decisions", "threads": torch.get_num_threads(), "results": report}))


if __name__ == "__main__":
    main()
