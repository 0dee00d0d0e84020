"""Tuning one model of a study: its trials, one after the other, each kept as soon as it is done."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401 (loaded here, so that no trial's time pays for it)
import numpy as np
import torch
from torch import Tensor

from ..audit import SharingProbe
from ..balance import Recorder, create
from ..data import Source, Splits, TableData
from ..tasks import Task
from ..train import build_table_model, fit, gather_targets, predict, score
from ._memory import PeakMemory
from ._models import Model
from ._plan import Plan
from ._recorded import projected, weights
from ._space import Settings, suggest
from ._store import Store, Trial
from ._tables import read, split
from ._trees import Trees
from ._turns import Turns

RECORDED = 8
"""At most so many steps of an epoch are recorded, and at least one: a record of pairs of tasks is memory too."""


@lru_cache(maxsize=2)
def seed_data(plan_json: str, seed: int) -> TableData:
    """The table under one seed's split; kept, as a process trains many models on it."""
    plan = Plan.model_validate_json(plan_json)
    frame, _ = read(plan.table)
    return split(plan, frame, seed)


def tune(plan_json: str, folder: str, seed: int, model: Model) -> str:
    """Do the trials of ``model`` that are still to be done; returns the model's key.

    A function of plain values, so that any process can run it.
    """
    plan, store = Plan.model_validate_json(plan_json), Store(Path(folder))
    done = store.trials(seed, model.key)
    while len(done) < plan.trials:
        data = seed_data(plan_json, seed)
        tasks = data.preprocessor.tasks()
        names = [tasks[i].name for i in model.tasks]
        before = [(t.settings, t.objective) for t in done]
        settings = suggest(model.kind, names, before, seed)
        if model.kind == "weighted" and not before:
            settings |= {f"weight/{name}": value for name, value in _even_start(data, model.tasks).items()}
        trial, values = run_trial(plan, data, seed, model, settings, len(done))
        store.save_trial(seed, model.key, len(done), trial, values)
        done.append(trial)
    return model.key


def run_trial(
    plan: Plan, data: TableData, seed: int, model: Model, settings: Settings, number: int
) -> tuple[Trial, dict[str, np.ndarray]]:
    """Train once; the record and the per-example test values."""
    every = data.preprocessor.tasks()
    tasks = [every[i] for i in model.tasks]
    made = _Trees(data, seed) if model.kind == "trees" else _Network(plan, data, seed, model, number)
    with PeakMemory() as memory:
        began = time.perf_counter()
        made.fit(tasks, settings)
        fit_seconds = time.perf_counter() - began
    valid = score(tasks, made.predict("valid"), *gather_targets(data.splits.valid, tasks))
    assert data.splits.test is not None
    targets, observed = gather_targets(data.splits.test, tasks)
    began = time.perf_counter()
    decoded = made.predict("test")
    predict_seconds = time.perf_counter() - began
    constant = {t.name: constant_prediction(t, data.splits.train) for t in tasks}
    trial = Trial(
        settings=settings,
        objective=_objective(tasks, valid, constant, data.splits.valid),
        valid=_plain(valid),
        test=_plain(score(tasks, decoded, targets, observed)),
        baseline=_main(tasks, score(tasks, _repeat(constant, targets), targets, observed)),
        fit_seconds=fit_seconds,
        predict_seconds=predict_seconds,
        peak_mb=memory.peak_mb,
        parameters=made.parameters(),
        **made.extras(),
    )
    return trial, _values(data, model, tasks, decoded, targets, observed)


class _Network:
    """A network of some balancer on some of the tasks."""

    def __init__(self, plan: Plan, data: TableData, seed: int, model: Model, number: int) -> None:
        self.plan, self.data, self.model, self.seed = plan, data, model, seed * 1000 + number
        self.probe = SharingProbe() if model.probe and number == 0 else None

    def fit(self, tasks: Sequence[Task], settings: Settings) -> None:
        """Train with early stopping on the validation rows."""
        self.tasks = tasks
        shape = {k: settings[k] for k in ("width", "depth", "dropout", "numeric_embedding")}
        self.net, _ = build_table_model(self.data.preprocessor, tasks, seed=self.seed, **shape)
        names = [t.name for t in tasks]
        options: dict[str, Any] = {"seed": self.seed} if self.model.balancer == "pcgrad" else {}
        if self.model.kind == "weighted":
            options["weights"] = {name: float(settings[f"weight/{name}"]) for name in names}
        splits = _only(self.data.splits, tasks)
        self.recorder = None
        if len(tasks) > 1 and self.model.balancer != "equal":
            steps = math.ceil(len(splits.train) / self.plan.batch_size)
            self.recorder = Recorder(every=math.ceil(steps / RECORDED))
        self.turns = None if self.model.schedule == "all" else Turns()
        self.fitted = fit(
            self.net,
            list(tasks),
            splits,
            balancer=create(self.model.balancer, tasks=names, **options),
            shared="layers" if self.model.by_layer else None,
            schedule=self.model.schedule,
            learning_rate=float(settings["learning_rate"]),
            weight_decay=float(settings["weight_decay"]),
            epochs=self.plan.epochs,
            batch_size=self.plan.batch_size,
            patience=self.plan.patience,
            seed=self.seed,
            callbacks=[c for c in (self.recorder, self.probe, self.turns) if c is not None],
            progress=False,
        )

    def predict(self, split: str) -> dict[str, Tensor]:
        """Decoded predictions of a split."""
        return predict(self.net, self.tasks, getattr(self.data.splits, split))

    def parameters(self) -> int:
        """Learned numbers."""
        return sum(p.numel() for p in self.net.parameters())

    def extras(self) -> dict[str, Any]:
        """Curves, what the balancer decided, and what the probe saw."""
        curves = {t.name: [r.valid[t.name] for r in self.fitted.history if t.name in r.valid] for t in self.tasks}
        found: dict[str, Any] = {"curves": curves}
        if self.recorder is not None:
            record = self.recorder.read()
            found |= {"weights": weights(record), "projected": projected(record)}
        if self.turns is not None:
            found["trained"] = self.turns.shares([t.name for t in self.tasks])
        if self.probe is not None:
            found["probe"] = {
                "epochs": self.probe.epochs,
                "cosine": [c.tolist() for c in self.probe.cosine],
                "affinity": [a.tolist() for a in self.probe.affinity],
            }
        return found


class _Trees:
    """Boosted trees for one task, with the face of :class:`_Network`."""

    def __init__(self, data: TableData, seed: int) -> None:
        self.data, self.seed = data, seed

    def fit(self, tasks: Sequence[Task], settings: Settings) -> None:
        """Train with early stopping on the validation rows."""
        self.trees = Trees(tasks[0], settings, self.seed).fit(self.data)

    def predict(self, split: str) -> dict[str, Tensor]:
        """Decoded predictions of a split."""
        return {self.trees.task.name: self.trees.predict(self.data, split)}

    def parameters(self) -> int:
        """Learned numbers."""
        return self.trees.parameters()

    def extras(self) -> dict[str, Any]:
        """Nothing more."""
        return {}


def constant_prediction(task: Task, source: Source) -> Tensor:
    """The best constant, decoded: the training mean, or the class shares (with one more of each class)."""
    targets, observed = gather_targets(source, [task])
    y = targets[task.name][observed[task.name]]
    if task.kind == "regression":
        return y.double().mean()
    counts = torch.bincount(y.long(), minlength=max(2, len(task.classes))).double() + 1
    shares = counts / counts.sum()
    return shares[1] if task.kind == "binary" else shares


def _repeat(constant: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.expand(len(targets[k]), *v.shape) for k, v in constant.items()}


def _main(tasks: Sequence[Task], metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {t.name: metrics[t.name][t.main_metric] for t in tasks}


def _objective(
    tasks: Sequence[Task],
    valid: Mapping[str, Mapping[str, float]],
    constant: dict[str, Tensor],
    source: Source,
) -> float:
    """Mean relative improvement of the main metric over the constant prediction."""
    targets, observed = gather_targets(source, tasks)
    base = _main(tasks, score(tasks, _repeat(constant, targets), targets, observed))
    gains = []
    for task in tasks:
        sign = 1 if task.higher_is_better[task.main_metric] else -1
        reached, reference = valid[task.name][task.main_metric], base[task.name]
        gains.append(sign * (reached - reference) / max(abs(reference), 1e-12))
    return float(np.mean(gains))


def _even_start(data: TableData, members: Sequence[int]) -> dict[str, float]:
    """Weights that make the constant prediction's training losses equal; their mean is 1."""
    losses = {}
    every = data.preprocessor.tasks()
    for task in (every[i] for i in members):
        targets, observed = gather_targets(data.splits.train, [task])
        y = targets[task.name][observed[task.name]]
        if task.kind == "regression":
            losses[task.name] = 1.0  # of the standardised target
        else:
            shares = torch.bincount(y.long()).double() / len(y)
            losses[task.name] = max(float(-(shares * shares.clamp_min(1e-12).log()).sum()), 1e-3)
    mean = sum(1 / v for v in losses.values()) / len(losses)
    return {name: min(4.0, max(0.25, 1 / value / mean)) for name, value in losses.items()}


def _only(splits: Splits, tasks: Sequence[Task]) -> Splits:
    """Splits whose batches hold these tasks' labels alone."""
    from ..data import TensorSource

    names = {t.name for t in tasks}

    def narrow(source: Any) -> TensorSource:
        whole = source.all
        return TensorSource(
            whole.inputs,
            {k: v for k, v in whole.targets.items() if k in names},
            {k: v for k, v in whole.observed.items() if k in names},
            whole.weight,
        )

    return Splits(narrow(splits.train), narrow(splits.valid))


def _values(
    data: TableData,
    model: Model,
    tasks: Sequence[Task],
    decoded: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    observed: Mapping[str, Tensor],
) -> dict[str, np.ndarray]:
    """Per-example metric on test and the table's row numbers, by task number."""
    result: dict[str, np.ndarray] = {}
    for number, task in zip(model.tasks, tasks, strict=True):
        keep = observed[task.name]
        result[f"rows/{number}"] = np.ascontiguousarray(data.row_ids.test[keep.numpy()])
        if task.example_metric is not None:
            values = task.example_metric(decoded[task.name][keep], targets[task.name][keep])
            result[f"values/{number}"] = values.double().numpy()
    return result


def _plain(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {t: {m: v if math.isfinite(v) else None for m, v in d.items()} for t, d in metrics.items()}
