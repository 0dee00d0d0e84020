"""All models at once: the reference that costs most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .._needs import declare
from .._running import logits_of
from ._task_model import Named, State, TaskModel


@declare(task="head", stored="T")
class Ensemble(TaskModel):
    """The mean of all models' logits; for a task, of all trunks with that task's head.

    Not a merge but what one is measured against: it keeps every model and runs them all, T times the cost of one.
    Arguments as of :class:`TaskModel`.
    """

    def __init__(self, model: nn.Module, states: Mapping[str, State], *, exclude: Sequence[str] = ()) -> None:
        super().__init__(model, states, exclude)
        self.trunks = nn.ModuleList(Named({name: state[name] for name in self.shared}) for state in states.values())

    def forward(self, *args: Any, task: str | None = None, **kwargs: Any) -> torch.Tensor:
        """Mean logits ``[B, classes]`` for ``task``."""
        head, total = self.head(task), []
        for trunk in self.trunks:
            assert isinstance(trunk, Named)
            total.append(logits_of(self.call(trunk.tensors() | head, args, kwargs), task))
        return torch.stack(total).mean(0)
