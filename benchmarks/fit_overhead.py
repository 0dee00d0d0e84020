"""What the training loop costs: examples a second of ``sw.fit`` against a bare PyTorch loop.

Same model, same batches, same optimizer; both validate once an epoch. The two take turns, epoch medians are compared.

    python benchmarks/fit_overhead.py [--rows 20000] [--batches 64,256,1024] [--rounds 5]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time

import torch
from torch import Tensor

import sharewise as sw
from sharewise.data import TableSpec, load_splits, sets
from sharewise.train import build_table_model, mean_losses

GOAL = 0.85


def bare_epochs(model: torch.nn.Module, tasks: list, data: sw.Splits, batch: int, epochs: int) -> list[float]:
    """Seconds of each epoch of the loop one would write by hand."""
    whole = data.train.all
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    seconds = []
    for _ in range(epochs):
        began = time.perf_counter()
        model.train()
        for rows in torch.randperm(len(whole)).split(batch):
            raw = model({name: value[rows] for name, value in whole.inputs.items()})
            total = 0.0
            for task in tasks:
                prediction, target = raw[task.name], whole.targets[task.name][rows]
                if task.name in whole.observed:
                    seen = whole.observed[task.name][rows]
                    prediction, target = prediction[seen], target[seen]
                total = total + loss_of(task, prediction, target)
            total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean_losses(model, tasks, data.valid)
        seconds.append(time.perf_counter() - began)
    return seconds


def loss_of(task: sw.Task, prediction: Tensor, target: Tensor) -> Tensor:
    if task.kind == "regression":
        return torch.nn.functional.mse_loss(prediction, (target - task.loc) / task.scale)
    if task.kind == "binary":
        return torch.nn.functional.binary_cross_entropy_with_logits(prediction, target)
    return torch.nn.functional.cross_entropy(prediction, target)


def fit_epochs(model: torch.nn.Module, tasks: list, data: sw.Splits, batch: int, epochs: int) -> list[float]:
    fitted = sw.fit(model, tasks, data, batch_size=batch, epochs=epochs, patience=None, progress=False)
    return [record.seconds for record in fitted.history]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batches", default="64,256,1024")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    frame = sets.simulate_table(options.rows, targets=6, features=20, seed=0)
    targets = tuple(c for c in frame.columns if c.startswith("y"))
    data = load_splits(frame, TableSpec(targets), seed=0, valid=0.05, test=0.05, stream=False)
    tasks = data.preprocessor.tasks()
    rows = len(data.splits.train)
    report = {}
    print(f"{rows} training rows, {len(tasks)} tasks, {torch.get_num_threads()} threads")
    print(f"{'batch':>6} {'bare loop, examples/s':>22} {'sw.fit, examples/s':>20} {'ratio':>7}   goal >= {GOAL}")
    for batch in map(int, options.batches.split(",")):
        model, _ = build_table_model(data.preprocessor, tasks, width=96, depth=2)
        bare: list[float] = []
        ours: list[float] = []
        for _ in range(options.rounds):
            bare += bare_epochs(copy.deepcopy(model), list(tasks), data.splits, batch, 3)[1:]
            ours += fit_epochs(copy.deepcopy(model), list(tasks), data.splits, batch, 3)[1:]
        a, b = rows / statistics.median(bare), rows / statistics.median(ours)
        report[batch] = {"bare": a, "fit": b, "ratio": b / a}
        print(f"{batch:>6} {a:>22,.0f} {b:>20,.0f} {b / a:>7.2f}")
    print(json.dumps({"benchmark": "fit_overhead", "rows": rows, "results": report}))


if __name__ == "__main__":
    main()
