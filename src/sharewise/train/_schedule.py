"""A schedule for a run: built by name, checked against the tasks, told of gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..balance import Reducer
from ..data import PerTaskSource, Source
from ..errors import OptionError, nearest
from ..schedule import Schedule, create, options
from ..tasks import Task
from ._evaluate import EVALUATION_BATCH, observed_count


def make_schedule(given: Schedule | str, tasks: Sequence[Task], source: Source) -> Schedule:
    """The schedule itself, or the one of that name: sizes it needs are counted in the training data.

    Raises :class:`OptionError` if its tasks are not those of the run.
    """
    names = [task.name for task in tasks]
    if isinstance(given, str):
        sizes = {"sizes": label_counts(names, source)} if "sizes" in options(given) else {}
        return create(given, tasks=names, **sizes)
    for task in given.names:
        if task not in names:
            raise OptionError(f'the schedule is for task "{task}", which is not trained; {nearest(task, names)}')
    for task in names:
        if task not in given.names:
            raise OptionError(f'the schedule does not know task "{task}", so it would never train: build it with all')
    return given


def label_counts(names: Sequence[str], source: Source) -> dict[str, int]:
    """Task -> its labelled training examples. Cost: one pass, or nothing where each task has a source of its own."""
    if isinstance(source, PerTaskSource):
        return {name: len(source.sources[name]) for name in names if name in source.sources}
    counts = dict.fromkeys(names, 0)
    for batch in source.batches(EVALUATION_BATCH):
        for name in names:
            counts[name] += observed_count(batch, name)
    return counts


def reached_by_two(losses: Mapping[str, Tensor], model: nn.Module) -> list[nn.Parameter]:
    """The parameters that two or more losses depend on; all that any does where there is one loss.

    Cost: a backward pass a loss.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    reached = [0] * len(parameters)
    for loss in losses.values():
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        reached = [count + (gradient is not None) for count, gradient in zip(reached, found, strict=True)]
    least = min(2, len(losses))
    return [p for p, count in zip(parameters, reached, strict=True) if count >= least]


def gradient_rows(
    losses: Mapping[str, Tensor], shared: Sequence[nn.Parameter], reducer: Reducer | None
) -> Iterator[Tensor]:
    """The gradient ``[n]`` of each loss for the shared parameters, one after the other; the graph stays."""
    for loss in losses.values():
        found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True, materialize_grads=True)
        row = torch.cat([gradient.flatten() for gradient in found])
        yield row if reducer is None else reducer.rows(row)
