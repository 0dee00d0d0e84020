"""Which batches the steps get: those of the source in turn, or those of the tasks whose turn it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..data import Batch, PerTaskSource, Source, TaskReader


class Feed:
    """The training batches of one process among ``world`` equal ones.

    Args:
        source: the training examples.
        batch_size: examples a batch and process.
        seed: orders them.
        world, rank: how many processes there are, and which this one is: it gets each ``world``-th batch.
        by_task: read only the sources of the tasks in the step; for a :class:`sharewise.PerTaskSource`.
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, *, world: int = 1, rank: int = 0, by_task: bool = False
    ) -> None:
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.world, self.rank = world, rank
        self.reader: TaskReader | None = None
        if by_task and isinstance(source, PerTaskSource):
            self.reader = source.reader(batch_size, seed=seed)

    def batches(self, epoch: int, start: int, active: Callable[[], list[str]]) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on; ``active()`` tells the tasks of the step when one is due.

        An incomplete last group of batches is left out where there are several processes: they must step together.
        """
        if self.reader is not None:
            number = math.ceil(len(self.source) / self.batch_size)
            for _ in range(start, number if self.world == 1 else number // self.world):
                yield self.take(active())
            return
        source = self.source.batches(
            self.batch_size, seed=self.seed, epoch=epoch, shuffle=True, start=start * self.world
        )
        group: list[Batch] = []
        for batch in source:
            group.append(batch)
            if len(group) == self.world:
                yield group[self.rank]
                group = []

    def take(self, tasks: list[str]) -> Batch:
        """A batch of these tasks' own examples; every process reads what all take, and keeps its part."""
        assert self.reader is not None
        return [self.reader.take(tasks) for _ in range(self.world)][self.rank]

    def state_dict(self) -> dict[str, Any]:
        """How far each task's source was read; nothing where ``epoch`` and ``batch`` tell it all."""
        return {} if self.reader is None else self.reader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if self.reader is not None:
            self.reader.load_state_dict(state)
