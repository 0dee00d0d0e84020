"""All benchmarks, one after the other: ``make bench``. Each prints a table and a line of JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ORDER = ("startup", "fit_overhead", "resume", "stream_parquet", "backward_modes", "decisions", "merging")


def main() -> None:
    for name in ORDER:
        print(f"\n== {name}\n", flush=True)
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True)


if __name__ == "__main__":
    main()
