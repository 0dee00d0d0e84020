"""One run: an arm, a seed and a learning rate on one problem; and all runs of a problem, stored one by one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import sharewise as sw
from sharewise.balance import Balancer, RotoGrad
from sharewise.data import Batch
from sharewise.errors import BalanceError
from sharewise.sharing import HardSharing
from sharewise.tasks import Task
from sharewise.train import evaluate, gather_targets, once_more, random_state, score

from .problems import SIZES, WIDTH, Problem, Sizes

SINGLE, GRID = "single", "constant"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "db_mtl without memory": ("db_mtl", {"beta": 0.0}),
    "moco without memory": ("moco", {"beta": 1.0, "beta_decay": 0.0}),
}
"""Arm -> method, options. The running means of these two span ten and more steps, much of a short run."""
Record = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What all runs of a comparison have in common."""

    sizes: Sizes = SIZES
    epochs: int = 6
    batch: int = 128
    rates: tuple[float, ...] = (4e-3, 1.6e-2)

    def training(self) -> str:
        """How a model is trained, in words."""
        rates = " or ".join(f"{rate:g}" for rate in self.rates)
        tuned = "" if len(self.rates) > 1 else " (one only: no more than the epoch and the constant weights are tuned)"
        return f"{self.epochs} epochs in batches of {self.batch}, learning rate {rates}{tuned}"

    def label(self) -> str:
        """Runs with another label are not compared; more learning rates can be tried later."""
        rows = "/".join(str(n) for n in asdict(self.sizes).values())
        return f"{rows} rows, {self.epochs} epochs in batches of {self.batch}"


@dataclass(frozen=True)
class Arm:
    """A method, one task alone (``task``), or one point of the grid of constant weights (``weights``)."""

    name: str
    task: str = ""
    weights: tuple[float, ...] = ()


class Rotated(nn.Module):
    """A model whose heads read the representation through RotoGrad's rotations."""

    def __init__(self, model: HardSharing, balancer: RotoGrad) -> None:
        super().__init__()
        self.model, self.balancer = model, balancer
        self.representation: Tensor | None = None

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        self.representation = z = self.model.encoder(inputs)
        raw = {t: self.model.head(t)(self.balancer.rotate(t, z)) for t in self.model.tasks}
        return {t: r.squeeze(1) if r.shape[1] == 1 else r for t, r in raw.items()}


def arms(methods: Sequence[str], tasks: Sequence[str]) -> Iterator[Arm]:
    """Every arm: single tasks, then the methods; ``constant`` stands for one point a task, three times its weight."""
    yield from (Arm(SINGLE, task=t) for t in tasks)
    for name in methods:
        if name != GRID:
            yield Arm(name)
    for favoured in tasks:
        raw = [3.0 if t == favoured else 1.0 for t in tasks]
        yield Arm(GRID, weights=tuple(w * len(tasks) / sum(raw) for w in raw))


def make_balancer(arm: Arm, tasks: Sequence[str]) -> Balancer:
    """The method with its defaults, or with a variant's options."""
    if arm.name == SINGLE:
        return sw.balance.create("equal", tasks=tasks)
    options: dict[str, dict[str, Any]] = {
        GRID: {"weights": dict(zip(tasks, arm.weights, strict=False))},
        "rotograd": {"size": WIDTH},
    }
    name, changed = VARIANTS.get(arm.name, (arm.name, options.get(arm.name, {})))
    return sw.balance.create(name, tasks=tasks, **changed)


def losses_of(model: nn.Module, tasks: Sequence[Task], batch: Batch) -> dict[str, Tensor]:
    """The loss of each task that has a label in the batch."""
    raw, losses = model(batch.inputs), {}
    for task in tasks:
        seen = batch.observed.get(task.name)
        if seen is None or bool(seen.any()):
            losses[task.name] = task.masked_loss(raw[task.name], batch.targets[task.name], seen)
    return losses


class Training:
    """A plain loop around ``sw.backward``, with what single methods ask for: a second look, guidance, rotations."""

    def __init__(self, problem: Problem, tasks: tuple[Task, ...], arm: Arm, seed: int, rate: float) -> None:
        self.tasks = tasks
        names = [t.name for t in tasks]
        self.shared_model = problem.build(tasks, seed)
        self.balancer = make_balancer(arm, names)
        turned = isinstance(self.balancer, RotoGrad)
        self.model: nn.Module = Rotated(self.shared_model, self.balancer) if turned else self.shared_model
        parameters = [*self.shared_model.parameters(), *self.balancer.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=rate)
        self.steps, self.cpu, self.wall = 0, 0.0, 0.0

    def epoch(self, batches: Sequence[Batch]) -> None:
        """One pass; only this is timed."""
        wall, cpu = time.perf_counter(), time.process_time()
        for number, batch in enumerate(batches):
            self.step(batch, batches[(number + 1) % len(batches)])
        self.balancer.end_epoch()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.steps += len(batches)

    def step(self, batch: Batch, other: Batch) -> None:
        """One step on ``batch``; methods that want a second batch get ``other``."""
        before = random_state()
        self.optimizer.zero_grad()
        losses = losses_of(self.model, self.tasks, batch)
        where = self._where()
        sw.backward(losses, self.balancer, **where)
        self.optimizer.step()
        if self.balancer.looks_again:
            with once_more(self.model, before):
                again = losses_of(self.model, self.tasks, batch)
            self.balancer.look_again(again)
        if isinstance(self.balancer, sw.balance.AIM):
            self.balancer.guide(losses_of(self.model, self.tasks, other), **where)

    def _where(self) -> dict[str, Any]:
        if self.balancer.needs == "losses":
            return {}
        if isinstance(self.model, Rotated):
            return {"representation": self.model.representation}
        return {"shared": self.shared_model}


def run(problem: Problem, arm: Arm, seed: int, rate: float, setup: Setup) -> Record:
    """Train one model; the epoch is chosen on validation rows, and test rows are only measured.

    ``objective``: mean over tasks of the main metric relative to that of the best constant prediction.
    """
    tasks = tuple(t for t in problem.tasks if arm.task in ("", t.name))
    base = floor(problem, tasks)
    training = Training(problem, tasks, arm, seed, rate)
    best: Record = {"objective": None}
    try:
        for epoch in range(setup.epochs):
            training.epoch(list(problem.splits.train.batches(setup.batch, seed=seed, epoch=epoch, shuffle=True)))
            valid = main(tasks, evaluate(training.model, tasks, problem.splits.valid))
            objective = sum(valid[t] / base[t] for t in valid) / len(valid)
            if best["objective"] is None or objective < best["objective"]:
                assert problem.splits.test is not None
                test = main(tasks, evaluate(training.model, tasks, problem.splits.test))
                best = {"objective": objective, "epoch": epoch, "valid": valid, "test": test}
    except BalanceError as error:
        best["failed"] = str(error)
    parameters = sum(p.numel() for p in training.shared_model.parameters())
    cost = {"steps": training.steps, "cpu": training.cpu, "wall": training.wall, "parameters": parameters}
    return {**best, **cost}


def peak_memory(problem: Problem, arm: Arm, seed: int, rate: float, setup: Setup) -> float:
    """Most megabytes of tensors at a time: model, optimizer, balancer and two steps of training, without the data."""
    tasks = tuple(t for t in problem.tasks if arm.task in ("", t.name))
    batches = list(problem.splits.train.batches(setup.batch, seed=seed, epoch=0, shuffle=True))[:3]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        training = Training(problem, tasks, arm, seed, rate)
        for batch, other in pairwise(batches):
            training.step(batch, other)
    with TemporaryDirectory() as folder:
        watched.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    # The allocator's count starts at zero with the first profile of a process, and goes on over later ones.
    held = [(e["args"]["Total Allocated"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]"]
    start = held[0][0] - held[0][1]
    return (max(total for total, _ in held) - start) / 2**20


def main(tasks: Sequence[Task], metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each task's main metric; all of them here are errors, lower better."""
    assert not any(t.higher_is_better[t.main_metric] for t in tasks)
    return {t.name: metrics[t.name][t.main_metric] for t in tasks}


def floor(problem: Problem, tasks: Sequence[Task]) -> dict[str, float]:
    """The main metric, on validation rows, of what needs no input: the training mean, or the class shares."""
    constant = {}
    labels, seen = gather_targets(problem.splits.train, tasks)
    targets, observed = gather_targets(problem.splits.valid, tasks)
    for task in tasks:
        y, rows = labels[task.name][seen[task.name]], len(targets[task.name])
        if task.kind == "regression":
            constant[task.name] = y.float().mean().expand(rows)
        else:
            counts = torch.bincount(y.long(), minlength=max(2, task.size)).float() + 1
            shares = counts / counts.sum()
            constant[task.name] = shares[1].expand(rows) if task.kind == "binary" else shares.expand(rows, -1)
    return main(tasks, score(tasks, constant, targets, observed))


class Store:
    """Runs as JSON lines, one written as soon as it is done, so that an interrupted comparison continues."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text.splitlines()
        if text and not text.endswith("\n"):  # cut short by a kill: that run is done again
            lines.pop()
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.records: list[Record] = [json.loads(line) for line in lines]
        self.done = {key(r) for r in self.records}

    def add(self, record: Record) -> None:
        """Keep a run for good."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
        self.done.add(key(record))


def key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a run that run."""
    fields = ("setup", "set", "arm", "task", "seed", "rate")
    return (*(record[f] for f in fields), tuple(record["weights"]))


def run_all(
    name: str, problems: Mapping[int, Problem], methods: Sequence[str], setup: Setup, store: Store
) -> Iterator[Record]:
    """The missing runs of a set, seed by seed and arm by arm, so that costs are compared side by side."""
    for seed, problem in problems.items():
        test = problem.splits.test
        rows = [len(problem.splits.train), len(problem.splits.valid), 0 if test is None else len(test)]
        for arm in arms(methods, [t.name for t in problem.tasks]):
            for rate in setup.rates:
                what = {"setup": setup.label(), "set": name, "seed": seed, "rate": rate, "rows": rows}
                what |= {"arm": arm.name, "task": arm.task, "weights": list(arm.weights)}
                if key(what) not in store.done:
                    record = what | run(problem, arm, seed, rate, setup)
                    if seed == next(iter(problems)) and rate == setup.rates[0]:  # the same under every seed and rate
                        record["peak_mb"] = peak_memory(problem, arm, seed, rate, setup)
                    store.add(record)
                    yield record
