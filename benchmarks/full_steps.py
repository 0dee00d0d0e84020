"""A full training step of every method that a peer has too: ours against TorchJD's and LibMTL's.

Forward pass, per-task gradients, decision and ``.grad``, on the models of ``backward_modes.py``; the optimizer's step
is the same for all and is left out. Ours runs in the modes ``auto`` and ``loop``; TorchJD (extra ``bench``) in every
way it has (its default, ``parallel_chunk_size=1``, ``optimize_gramian_computation=True``, and its engine for the Gram
matrix), of which the best is compared, in time and in memory; LibMTL where ``--libmtl`` names a checkout of its
repository. LibMTL's GradDrop works on the gradients of the representation, so ours does so too beside it.

Every side has a process of its own; the sides of a method take turns, step by step, with one thread. Compared are the
fewest CPU milliseconds of a step and the peak of memory above that before the first step.

    python benchmarks/full_steps.py [--cells mlp:2,mlp:10,mlp:40,transformer:10,convnet:10] [--methods pcgrad,upgrad]
                                    [--rounds 5] [--libmtl FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch

import sharewise as sw
from backward_modes import MODELS
from step_bench.libmtl_steps import CLASSES, ON_REPRESENTATIONS, libmtl_side, load
from step_bench.ours import ELSEWHERE, balancer_for, ours
from step_bench.torchjd_steps import torchjd_sides
from step_bench.worker import Make, Worker

CELLS = "mlp:2,mlp:10,mlp:40,transformer:10,convnet:10"
LONG, FEWER = 1.0, 2  # a side whose step takes longer (s) is timed this many times only
COLUMNS = ("auto", "loop", "TorchJD", "LibMTL", "/ best")


def sides_of(name: str, weightings: Any) -> dict[str, Make]:
    """Every side that takes a step of the method: ``auto``, ``loop``, ``TorchJD: setting``, ``LibMTL``."""
    sides = {"auto": ours(name, "auto")}
    if balancer_for(name, ["a", "b"]).needs != "losses":
        sides["loop"] = ours(name, "loop")
    sides |= {f"TorchJD: {setting}": make for setting, make in torchjd_sides(name).items()}
    if weightings is not None and name in CLASSES:
        sides["LibMTL"] = libmtl_side(name, weightings)
        if name in ON_REPRESENTATIONS:
            sides["auto, representation"] = ours(name, "representation")
    return sides


def measure(sides: dict[str, Make], model: str, tasks: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Side -> least CPU and wall milliseconds of a step and peak megabytes, or the reason why there are none."""
    workers = {side: Worker(make, model, tasks) for side, make in sides.items()}
    for turn in range(rounds + 1):
        for worker in workers.values():
            if not (len(worker.cpu) >= FEWER and min(worker.cpu) > LONG):
                worker.step(counts=turn > 0)  # the first step warms up
    found: dict[str, dict[str, Any]] = {}
    for side, worker in workers.items():
        peak = worker.end()
        if worker.failed is not None:
            found[side] = {"failed": worker.failed}
        else:
            found[side] = {"cpu_ms": 1e3 * min(worker.cpu), "wall_ms": 1e3 * min(worker.wall), "peak_mb": peak}
    return found


def best(found: dict[str, dict[str, Any]], who: str, what: str) -> float:
    """The least number of the sides whose name begins so; NaN where there is none."""
    return min((v[what] for side, v in found.items() if side.startswith(who) and what in v), default=math.nan)


def compared(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a method's row: ours, the peers' best, and our ratio to the better peer."""
    row: dict[str, Any] = {}
    beside = "auto, representation" in found
    for what in ("cpu_ms", "peak_mb"):
        numbers = [found[side].get(what, math.nan) if side in found else math.nan for side in ("auto", "loop")]
        numbers += [best(found, "TorchJD", what), best(found, "LibMTL", what)]
        pairs = [
            (numbers[0], numbers[2]),
            (found["auto, representation"].get(what) if beside else numbers[0], numbers[3]),
        ]
        ratios = [mine / theirs for mine, theirs in pairs if not math.isnan(theirs)]
        row[what] = dict(zip(COLUMNS, [*numbers, max(ratios, default=math.nan)], strict=True))
    return row


def shown(model: str, tasks: int, name: str, row: dict[str, Any]) -> str:
    def cells(numbers: dict[str, float], digits: int) -> str:
        texts = [f"{v:.{2 if c == '/ best' else digits}f}" for c, v in numbers.items()]
        return "".join(f"{'' if t == 'nan' else t:>9}" for t in texts)

    return f"{model:<12}{tasks:>3} {name:<13}{cells(row['cpu_ms'], 1)}   {cells(row['peak_mb'], 0)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=CELLS, help=f"model:tasks, with commas; models: {', '.join(MODELS)}")
    parser.add_argument("--methods", help="names with commas; default: all that a peer has")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libmtl", type=Path, help="a checkout of LibMTL's repository")
    parser.add_argument("--json", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.func.vmap(torch.sin)(torch.ones(2))  # loads what TorchJD would load within its first step
    weightings = load(options.libmtl) if options.libmtl else None
    names = options.methods.split(",") if options.methods else [n for n in sw.balance.available() if n not in ELSEWHERE]
    print(f"CPU ms of a step (least of {options.rounds}), and peak MB above that before the first step; one thread")
    print(f"{'':<29}" + "   ".join("".join(f"{c:>9}" for c in COLUMNS) for _ in range(2)), flush=True)
    results: dict[str, Any] = {}
    behind: dict[str, list[str]] = {"cpu_ms": [], "peak_mb": []}
    for cell in options.cells.split(","):
        model, _, tasks = cell.partition(":")
        for name in names:
            sides = sides_of(name, weightings)
            if not any(side.startswith(("TorchJD", "LibMTL")) for side in sides):
                continue  # only LibMTL has it, and is not there
            found = measure(sides, model, int(tasks), options.rounds)
            row = compared(found)
            print(shown(model, int(tasks), name, row), flush=True)
            for side, values in found.items():
                if "failed" in values:
                    print(f"{'':<16}{name}, {side}: {values['failed']}", flush=True)
            ratios = {what: v["/ best"] for what, v in row.items() if not math.isnan(v["/ best"])}
            results[f"{cell} {name}"] = {"sides": found, "ratio": ratios}
            for what, late in behind.items():
                if row[what]["/ best"] > 1:
                    late.append(f"{cell} {name} {row[what]['/ best']:.2f}")
    print(f"slower than a peer: {'; '.join(behind['cpu_ms']) or 'none'}")
    print(f"with more memory than a peer: {'; '.join(behind['peak_mb']) or 'none'}")
    text = json.dumps({"benchmark": "full_steps", "threads": 1, "results": results})
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
