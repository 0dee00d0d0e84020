"""How long a user waits: ``sharewise --help``, and ``import sharewise`` against ``import torch``.

Whole processes, taking turns; the best of the runs is compared, as start-up only ever gets slower by noise.

    python benchmarks/startup.py [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

IMPORTS = {
    "import torch": "import torch",
    "import sharewise": "import sharewise",
    "import sharewise, its balancing and training names": "import sharewise as sw; sw.backward; sw.fit; sw.regression",
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    commands = {name: [sys.executable, "-c", code] for name, code in IMPORTS.items()}
    commands["sharewise --help"] = [sys.executable, "-m", "sharewise", "--help"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            times[name].append(seconds(command))
    best = {name: min(values[1:]) for name, values in times.items()}
    for name, value in best.items():
        ratio = value / best["import torch"]
        print(f"{name:<52} {value:6.2f} s   {ratio:5.2f} x import torch")
    print("goals: sharewise --help < 0.5 s; import sharewise <= 1.15 x import torch")
    print(json.dumps({"benchmark": "startup", "best_of": runs, "seconds": best}))


if __name__ == "__main__":
    main()
