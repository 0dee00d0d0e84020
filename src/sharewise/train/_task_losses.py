"""The losses of a run's tasks on a batch, the same tasks on all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..balance import MeanReducer
from ..data import Batch
from ..tasks import Task
from ._evaluate import observed_count


@dataclass(frozen=True)
class TaskLosses:
    """Losses of ``model`` on batches; ``reducer`` where several processes train it."""

    model: nn.Module
    tasks: Sequence[Task]
    fabric: Any
    reducer: MeanReducer | None

    def __call__(self, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        """The loss of each of the named tasks that has a label in the batch, with its graph."""
        chosen = self.seen(batch, names)
        with self.fabric.autocast():
            raw = self.model(batch.inputs)
            losses = {}
            for task in self.tasks:
                if task.name not in chosen:
                    continue
                seen = batch.observed.get(task.name)
                if seen is not None and not observed_count(batch, task.name):  # but another process has labels of it
                    losses[task.name] = raw[task.name].sum() * 0.0
                    continue
                losses[task.name] = task.masked_loss(raw[task.name], batch.targets[task.name], seen, batch.weight)
        return losses

    def seen(self, batch: Batch, names: Sequence[str]) -> set[str]:
        """The named tasks with a label in the batch, on any process: all processes must step with the same tasks."""
        given = [task.name for task in self.tasks if task.name in set(names) and task.name in batch.targets]
        seen = [name not in batch.observed or observed_count(batch, name) > 0 for name in given]
        if self.reducer is not None and given:
            seen = (
                self.reducer.losses(torch.tensor(seen, dtype=torch.float32, device=self.fabric.device)) > 0
            ).tolist()
        return {name for name, found in zip(given, seen, strict=True) if found}

    def reduced(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses that all processes go by."""
        if self.reducer is None or not losses:
            return dict(losses)
        values = self.reducer.losses(torch.stack([loss.detach() for loss in losses.values()]))
        return dict(zip(losses, values.unbind(), strict=True))


def mean_over_batches(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Task -> its mean loss over the batches that have it."""
    names = dict.fromkeys(name for losses in batches for name in losses)
    return {name: torch.stack([b[name] for b in batches if name in b]).mean() for name in names}
