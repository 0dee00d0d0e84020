"""All benchmarks, one after the other: ``make bench``. Each prints a table and a line of JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ORDER = ("startup", "fit_overhead", "resume", "stream_parquet", "backward_modes", "decisions", "merging", "balancers")
QUICK = ("balancers",)
"""The whole of these takes much longer than a few minutes."""


def main() -> None:
    for name in ORDER:
        print(f"\n== {name}\n", flush=True)
        options = ["--quick"] if name in QUICK else []
        subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options], check=True)


if __name__ == "__main__":
    main()
