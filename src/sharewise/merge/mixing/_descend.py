"""Learning a merge's few parameters from unlabelled batches of every task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import MergeError, nearest
from ._task_model import endless

Batches = Mapping[str, Iterable[Any]]
"""Task -> its batches, each as :func:`~sharewise.merge.collect_gram` takes them."""


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions, nats: ``[B, classes]`` -> scalar."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def listed(batches: Batches, tasks: Sequence[str]) -> dict[str, list[Any]]:
    """Every task's batches, in the tasks' order; raises :class:`MergeError` for tasks without any, or unknown."""
    for task in batches:
        if task not in tasks:
            raise MergeError(f'batches are given for "{task}", which is none of the models; {nearest(task, tasks)}')
    found = {task: list(batches.get(task, ())) for task in tasks}
    for task, own in found.items():
        if not own:
            raise MergeError(f'no batch is given for task "{task}"')
    return found


def descend(
    parameters: Iterable[nn.Parameter],
    losses: Callable[[Mapping[str, Any]], Mapping[str, Tensor]],
    batches: Batches,
    tasks: Sequence[str],
    steps: int,
    learning_rate: float,
) -> list[float]:
    """Adam on the sum of all tasks' losses, one batch of each a step, in turn; the sums, one a step.

    Raises :class:`~sharewise.errors.MergeError` for a loss that is not finite, with its task.
    """
    turns = {task: endless(own) for task, own in listed(batches, tasks).items()}
    adam = torch.optim.Adam(list(parameters), lr=learning_rate)
    history = []
    for step in range(steps):
        found = losses({task: next(own) for task, own in turns.items()})
        for task, loss in found.items():
            if not bool(loss.isfinite()):
                raise MergeError(f'the loss of task "{task}" is not finite in step {step}: lower the learning rate')
        total = torch.stack(list(found.values())).sum()
        adam.zero_grad()
        total.backward()
        adam.step()
        history.append(float(total.detach()))
    return history
