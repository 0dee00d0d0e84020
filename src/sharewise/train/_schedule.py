"""A schedule for a run: built by name, checked against the tasks."""

from __future__ import annotations

from collections.abc import Sequence

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
    for name in given.names:
        if name not in names:
            raise OptionError(f'the schedule is for task "{name}", which is not trained; {nearest(name, names)}')
    for name in names:
        if name not in given.names:
            raise OptionError(f'the schedule does not know task "{name}", so it would never train: build it with all')
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
