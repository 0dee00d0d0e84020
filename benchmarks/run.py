"""All benchmarks, one after the other, and one table at the end: ``make bench``.

Each part prints its own table and a line of JSON; the sizes here are small, so that all of them take less than a
quarter of an hour on two cores. ``--full`` takes the parts' own sizes, which is hours. A part that fails is named at
once and again at the end, and the exit code is then 1; the others still run.

    python benchmarks/run.py [--only decisions,full_steps] [--full] [--json runs/bench.json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Row = tuple[str, float, str]
"""What was measured, the number, and its unit or what it is compared with."""


@dataclass(frozen=True)
class Part:
    """A script, the options that keep it short, and the few numbers of its report that the last table shows."""

    name: str
    quick: str
    headlines: Callable[[dict[str, Any]], Iterator[Row]]


def startup(report: dict[str, Any]) -> Iterator[Row]:
    best = report["seconds"]
    yield "sharewise --help", best["sharewise --help"], "s"
    yield "import sharewise", best["import sharewise"] / best["import torch"], "x import torch"


def fit_overhead(report: dict[str, Any]) -> Iterator[Row]:
    for batch, found in report["results"].items():
        yield f"sw.fit, batches of {batch}", found["ratio"], "x the examples/s of a bare loop"


def resume(report: dict[str, Any]) -> Iterator[Row]:
    for balancer, found in report["results"].items():
        if not found["bit_for_bit"]:
            raise ValueError(f"weights after resuming with {balancer} differ")
        yield f"killed and resumed bit for bit, {balancer}", found["kills"], "times"


def stream_parquet(report: dict[str, Any]) -> Iterator[Row]:
    yield "peak memory of a streamed epoch", report["peak_gb"], "GB"
    yield "time that waits for input", report["waiting"], "of the epoch"


def backward_modes(report: dict[str, Any]) -> Iterator[Row]:
    for cell, found in report["results"].items():
        yield f"PCGrad step, auto, {cell} tasks", found["auto"]["ratio"], "x a bare loop"
        yield f"peak memory, auto, {cell} tasks", found["auto"]["matrices"], "matrices of all gradients"
        yield f"examples shared out, {cell} tasks", found["disjoint"]["ratio"], "x a plain backward pass"


def decisions(report: dict[str, Any]) -> Iterator[Row]:
    cells = {tuple(name.split(" ")[:2]): None for name in report["results"]}
    for kind, tasks in cells:
        here = {n: v["ratio"] for n, v in report["results"].items() if n.startswith(f"{kind} {tasks} ")}
        own = {n: ratio for n, ratio in here.items() if "torchjd" not in n and not n.endswith("gram matrix")}
        slowest = max(own, key=own.__getitem__)
        yield f"slowest decision, {kind} {tasks}: {slowest.split(' ')[-1]}", own[slowest], "x the Gram matrix"


def full_steps(report: dict[str, Any]) -> Iterator[Row]:
    for what, label in (("cpu_ms", "CPU time"), ("peak_mb", "memory")):
        ratios = {n: v["ratio"][what] for n, v in report["results"].items() if what in v["ratio"]}
        worst = max(ratios, key=ratios.__getitem__)
        ahead = sum(r <= 1 for r in ratios.values())
        yield f"{label} of a step, ahead of the peers", ahead, f"of {len(ratios)} methods"
        yield f"{label} of a step, worst: {worst}", ratios[worst], "x the best peer"


def schedules(report: dict[str, Any]) -> Iterator[Row]:
    found = report["results"]
    slowest = max(found["bookkeeping"], key=lambda name: found["bookkeeping"][name]["share"])
    yield f"bookkeeping, most: {slowest}", found["bookkeeping"][slowest]["share"], "of a step"
    default = str(found["default"])
    yield f"refreshes of 40 tasks every {default} steps", found["curve"][default]["rows"], "of the training time"
    yield "colouring 500 tasks", found["colouring_ms"], "ms"


def optimizers(report: dict[str, Any]) -> Iterator[Row]:
    for name in report["results"][0]["ratios"]:
        slowest = max(found["ratios"][name][0] for found in report["results"])
        yield f"slowest step with {name}", slowest, "x Adam's"


def merging(report: dict[str, Any]) -> Iterator[Row]:
    floor = report["results"]["floor"]["cpu"]
    for name, found in report["results"].items():
        if name not in ("floor", "import torch"):
            yield f"merge, {name}", found["cpu"] / floor, "x load, average and save"


def balancers(report: dict[str, Any]) -> Iterator[Row]:
    for name, found in report["after_holm"].items():
        yield f"better than the plain sum on {name}", len(found["better"]), f"of {found['of']} methods"


PARTS = (
    Part("startup", "--runs 3", startup),
    Part("fit_overhead", "--rows 6000 --batches 256 --rounds 3", fit_overhead),
    Part("resume", "--kills 3", resume),
    Part("stream_parquet", "--rows 200000", stream_parquet),
    Part("backward_modes", "--models mlp --tasks 10 --rounds 3", backward_modes),
    Part("decisions", "--tasks 10,40 --rounds 3", decisions),
    Part("full_steps", "--cells mlp:10 --rounds 2", full_steps),
    Part("schedules", "--rounds 15 --seeds 1 --steps 400", schedules),
    Part("optimizers", "--widths 256 --batches 64 --rounds 20", optimizers),
    Part("merging", "--rounds 1 --only linear,slerp,task_arithmetic", merging),
    Part("balancers", "--quick", balancers),
)


def run(part: Part, options: Sequence[str]) -> dict[str, Any]:
    """Run a part, its output shown as it comes; the last line of it that is JSON, with the headlines.

    Raises :class:`RuntimeError` where it fails or has no report.
    """
    command = [sys.executable, str(HERE / f"{part.name}.py"), *options]
    report = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                report = json.loads(line)
            else:
                print(line, end="", flush=True)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}")
    if report is None:
        raise RuntimeError("it printed no JSON")
    return {"report": report, "rows": list(part.headlines(report))}


def run_all(parts: Sequence[Part], full: bool) -> dict[str, dict[str, Any]]:
    """Part -> its report, headlines and seconds, or why it failed."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        print(f"\n== {part.name}\n", flush=True)
        began = time.monotonic()
        try:
            found[part.name] = run(part, [] if full else part.quick.split())
        except (RuntimeError, LookupError, ValueError) as error:
            found[part.name] = {"failed": f"{type(error).__name__}: {error}"}
            print(f"\n{part.name} FAILED: {error}", file=sys.stderr, flush=True)
        found[part.name]["seconds"] = round(time.monotonic() - began, 1)
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """All headlines, a line each."""
    lines = [f"{'part':<16}{'what':<52}{'':>9}"]
    for name, result in found.items():
        rows = result.get("rows", [("FAILED", float("nan"), result.get("failed", ""))])
        lines += [f"{name:<16}{what:<52}{value:>9.4g} {unit}" for what, value, unit in rows]
        lines.append(f"{name:<16}{'time':<52}{result['seconds']:>9.4g} s")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"any of {', '.join(p.name for p in parts)}, with commas")
    parser.add_argument("--full", action="store_true", help="the parts' own sizes: hours")
    parser.add_argument("--json", type=Path, default=Path("runs/bench.json"))
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else [p.name for p in parts]
    if unknown := set(wanted) - {p.name for p in parts}:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(p.name for p in parts)}")
    found = run_all([p for p in parts if p.name in wanted], options.full)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"full": options.full, "parts": found}, indent=1) + "\n", encoding="utf-8")
    print(f"\n== all\n\n{table(found)}\n\nwritten to {options.json}")
    failed = [name for name, result in found.items() if "failed" in result]
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
