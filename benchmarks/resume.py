"""Kill -9 at random moments, twenty times: do the final weights equal the uninterrupted run's bit for bit?

python benchmarks/resume.py [--kills 20] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

import sharewise as sw
from sharewise.data import TableSpec, load_splits, sets
from sharewise.train import build_table_model

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.killing import kill_until_done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    frame = sets.simulate_table(2000, targets=4, seed=0)
    targets = tuple(c for c in frame.columns if c.startswith("y"))
    data = load_splits(frame, TableSpec(targets), seed=0, stream=False)
    tasks = data.preprocessor.tasks()

    def train(out: Path | None, balancer: str) -> torch.nn.Module:
        model, _ = build_table_model(data.preprocessor, tasks, width=32, depth=1)
        settings = {"epochs": 60, "batch_size": 32, "patience": None, "progress": False, "checkpoint_seconds": 0.05}
        sw.fit(model, tasks, data.splits, balancer=balancer, out=out, **settings)
        return model

    results = {}
    for balancer in ("equal", "pcgrad"):
        began = time.perf_counter()
        expected = list(train(None, balancer).parameters())
        longest = 3 * (time.perf_counter() - began) / options.kills
        kills, runs, same = 0, 0, True
        while kills < options.kills:  # a run may end before it was killed often enough: then another one begins
            with tempfile.TemporaryDirectory() as folder:
                work = partial(train, Path(folder), balancer)
                kills += kill_until_done(work, options.kills - kills, longest, options.seed + runs)
                runs += 1
                same &= all(torch.equal(a, b) for a, b in zip(work().parameters(), expected, strict=True))
        results[balancer] = {"kills": kills, "runs": runs, "bit_for_bit": same}
        print(f"{balancer}: killed {kills} times in {runs} runs, final weights {'equal' if same else 'DIFFER'}")
    print(json.dumps({"benchmark": "resume", "results": results}))


if __name__ == "__main__":
    main()
