"""Training from a Parquet file that is never held whole: how much memory, and how much time goes into reading.

    python benchmarks/stream_parquet.py [--rows 1000000] [--json]

Writes a table of numbers, categories, truth values and dates with gaps and four partly labelled targets (in another
process, so that its memory does not count), then trains a shared model for one epoch with ``sharewise.fit``.

- ``peak_gb``: most resident memory of this process, from start to end, interpreter and libraries included.
- ``waiting``: share of the epoch in which training waited for the next batch.
- ``reading``: the same with reading ahead in a thread switched off: the whole cost of the input pipeline.

Goals for 1,000,000 x 50: peak_gb < 1.5, waiting < 0.25.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = 50


def write(path: Path, rows: int) -> None:
    """50 columns: 34 numbers, 8 categories, 2 truth values, 2 dates, 4 targets."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 34)).astype(np.float32)
    table: dict[str, Any] = {f"x{i}": x[:, i] for i in range(34)}
    codes = rng.integers(0, 12, (rows, 8))
    for i in range(8):
        table[f"c{i}"] = np.array([f"value {k}" for k in range(12 * (i + 1))])[codes[:, i] * (i + 1)]
    table |= {f"b{i}": rng.random(rows) < 0.3 for i in range(2)}
    table |= {f"d{i}": pl.Series(rng.integers(10_000, 20_000, rows), dtype=pl.Int32).cast(pl.Date) for i in range(2)}
    signal = np.tanh(x @ rng.normal(size=(34, 4)).astype(np.float32) / 3) + codes[:, :4] / 12
    for i in range(4):
        label = signal[:, i] + 0.5 * rng.normal(size=rows)
        table[f"y{i}"] = label if i % 2 == 0 else np.where(label > 0.5, "yes", "no")
    frame = pl.DataFrame(table)
    gaps = [f"x{i}" for i in range(0, 34, 3)] + ["c0", "d0"] + [f"y{i}" for i in range(4)]
    frame = frame.with_columns(pl.when(pl.Series(rng.random(rows) >= 0.1)).then(c).alias(c) for c in gaps)
    assert frame.width == COLUMNS
    frame.write_parquet(path)


class Timed:
    """A source that counts the seconds spent inside it."""

    def __init__(self, source: Any) -> None:
        self.source, self.seconds, self.examples = source, 0.0, 0

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, batch_size: int, **options: Any) -> Iterator[Any]:
        walk = self.source.batches(batch_size, **options)
        while True:
            begin = time.perf_counter()
            batch = next(walk, None)
            self.seconds += time.perf_counter() - begin
            if batch is None:
                return
            self.examples += len(batch)
            yield batch


def train(data: Any, batch_size: int) -> tuple[float, float, int]:
    """Seconds of an epoch, seconds of these spent waiting for batches, examples."""
    import sharewise as sw
    from sharewise.sharing import table_model

    p = data.preprocessor
    tasks = p.tasks()
    model = table_model(
        tasks,
        numeric=len(p.numbers),
        missing=len(p.indicators),
        categories=p.cardinalities,
        bins=p.bins,
        numeric_embedding="none",
    )
    source = Timed(data.splits.train)
    begin = time.perf_counter()
    sw.fit(
        model,
        tasks,
        sw.Splits(source, data.splits.valid),
        epochs=1,
        batch_size=batch_size,
        patience=None,
        progress=False,
    )
    return time.perf_counter() - begin, source.seconds, source.examples


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--batch-size", type=int, default=1_024)
    options.add_argument("--json", action="store_true", help="print the JSON line only")
    options.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.write is not None:
        write(given.write, given.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        subprocess.run([sys.executable, __file__, "--rows", str(given.rows), "--write", str(path)], check=True)
        found = measure(path, given.batch_size)
    if not given.json:
        print(f"{given.rows:,} x {COLUMNS} Parquet, one epoch of {found['examples']:,} examples")
        print(f"  opened in          {found['open_seconds']:.1f} s (kinds, split, preprocessing)")
        print(f"  trained in         {found['train_seconds']:.1f} s")
        print(f"  peak memory        {found['peak_gb']:.2f} GB (goal < 1.5)")
        print(f"  waiting for input  {found['waiting']:.1%} (goal < 25 %)")
        print(f"  reading, all of it {found['reading']:.1%} with reading ahead switched off")
    print(json.dumps({"benchmark": "stream_parquet", "rows": given.rows, "columns": COLUMNS, **found}))


def measure(path: Path, batch_size: int) -> dict[str, float]:
    """The numbers, from this process."""
    from sharewise.data import TableSpec, load_splits

    begin = time.perf_counter()
    data = load_splits(path, TableSpec(("y0", "y1", "y2", "y3")), stream=True)
    opened = time.perf_counter() - begin
    seconds, waited, examples = train(data, batch_size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    data.splits.train.prefetch = False  # type: ignore[attr-defined]
    alone, read, _ = train(data, batch_size)
    return {
        "examples": examples,
        "open_seconds": round(opened, 2),
        "train_seconds": round(seconds, 2),
        "peak_gb": round(peak, 3),
        "waiting": round(waited / seconds, 4),
        "reading": round(read / alone, 4),
    }


if __name__ == "__main__":
    main()
