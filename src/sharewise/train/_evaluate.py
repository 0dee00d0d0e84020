"""Losses, predictions and metrics of a model over a source, without gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..data import Batch, Source
from ..tasks import Task

EVALUATION_BATCH = 4096


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the former mode comes back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def mean_losses(
    model: nn.Module, tasks: Sequence[Task], source: Source, batch_size: int = EVALUATION_BATCH
) -> dict[str, float]:
    """Mean loss of each task over its observed examples; a task with none is left out."""
    device = _device(model)
    totals = {t.name: 0.0 for t in tasks}
    counts = {t.name: 0 for t in tasks}
    with evaluating(model):
        for batch in source.batches(batch_size):
            batch = batch.to(device)
            raw = model(batch.inputs)
            for task in tasks:
                number = observed_count(batch, task.name)
                if number:
                    seen = batch.observed.get(task.name)
                    loss = task.masked_loss(raw[task.name], batch.targets[task.name], seen) / task.weight
                    totals[task.name] += float(loss) * number
                    counts[task.name] += number
    return {name: totals[name] / counts[name] for name in totals if counts[name]}


def observed_count(batch: Batch, task: str) -> int:
    """Examples of the batch on which the task is observed."""
    if task not in batch.targets:
        return 0
    seen = batch.observed.get(task)
    return len(batch.targets[task]) if seen is None else int(seen.sum())


def predict(
    model: nn.Module, tasks: Sequence[Task], source: Source, batch_size: int = EVALUATION_BATCH
) -> dict[str, Tensor]:
    """Decoded predictions (the user's units) of every task for every example, on the CPU, in the source's order."""
    device = _device(model)
    parts: dict[str, list[Tensor]] = {t.name: [] for t in tasks}
    with evaluating(model):
        for batch in source.batches(batch_size):
            raw = model(batch.to(device).inputs)
            for task in tasks:
                parts[task.name].append(task.decode(raw[task.name].float()).cpu())
    return {name: torch.cat(pieces) for name, pieces in parts.items()}


def gather_targets(source: Source, tasks: Sequence[Task]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All targets and masks of a source: (task -> ``[N, ...]``, task -> BoolTensor ``[N]``)."""
    targets: dict[str, list[Tensor]] = {t.name: [] for t in tasks}
    observed: dict[str, list[Tensor]] = {t.name: [] for t in tasks}
    for batch in source.batches(EVALUATION_BATCH):
        for task in tasks:
            labels = batch.targets[task.name]
            targets[task.name].append(labels)
            seen = batch.observed.get(task.name)
            observed[task.name].append(torch.ones(len(labels), dtype=torch.bool) if seen is None else seen)
    return ({k: torch.cat(v) for k, v in targets.items()}, {k: torch.cat(v) for k, v in observed.items()})


def evaluate(model: nn.Module, tasks: Sequence[Task], source: Source) -> dict[str, dict[str, float]]:
    """Metrics of every task over its observed examples: task -> metric -> value (NaN where undefined)."""
    return score(tasks, predict(model, tasks, source), *gather_targets(source, tasks))


def score(
    tasks: Sequence[Task],
    decoded: dict[str, Tensor],
    targets: dict[str, Tensor],
    observed: dict[str, Tensor],
) -> dict[str, dict[str, float]]:
    """Metrics from decoded predictions, whoever made them."""
    result: dict[str, dict[str, float]] = {}
    for task in tasks:
        keep = observed[task.name]
        if bool(keep.any()):
            result[task.name] = task.evaluate(decoded[task.name][keep], targets[task.name][keep])
        else:
            result[task.name] = dict.fromkeys(task.metrics, float("nan"))
    return result
