"""Stages: some tasks first, others later."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import OptionError, nearest
from ._schedule import Schedule, Starving, check_count


class Curriculum(Schedule):
    """Stages one after the other, each with tasks of its own; the last stage goes on to the end.

    A function of the step's number alone.

    Args:
        tasks: see :class:`Schedule`.
        stages: ``(steps, tasks)`` in order; the steps of the last stage are ``None``, as it never ends.
        max_absence, starving: see :class:`Schedule`.

    Raises :class:`OptionError` for a stage without tasks, a task that is in no stage, or that is not known.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        stages: Sequence[tuple[int | None, Sequence[str]]],
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(tasks, max_absence=max_absence, starving=starving)
        self.stages = [(steps, tuple(members)) for steps, members in stages]
        self._check_stages()
        self._check_absence({name: self._longest(name) for name in self.names})

    def stage(self, step: int) -> int:
        """The number of the stage that ``step`` is in, from 0."""
        for number, (steps, _) in enumerate(self.stages):
            if steps is None or step < steps:
                return number
            step -= steps
        raise AssertionError("the last stage has no end")

    def _choose(self, step: int) -> Sequence[str]:
        return self.stages[self.stage(step)][1]

    def _check_stages(self) -> None:
        if not self.stages:
            raise OptionError("a curriculum needs at least one stage: stages=[(steps, tasks), ..., (None, tasks)]")
        for number, (steps, members) in enumerate(self.stages, 1):
            if (steps is None) != (number == len(self.stages)):
                raise OptionError(f"stage {number} has steps={steps}: the last stage's are None, the others' a number")
            if steps is not None:
                check_count(f"the steps of stage {number}", steps)
            if not members:
                raise OptionError(f"stage {number} has no tasks: name at least one")
            for task in members:
                if task not in self.names:
                    raise OptionError(f'stage {number} names task "{task}", unknown; {nearest(task, self.names)}')
        for task in self.names:
            if not any(task in members for _, members in self.stages):
                raise OptionError(f'task "{task}" is in no stage, so it would never train: add it to one')

    def _longest(self, task: str) -> float:
        longest = here = 0.0
        for steps, members in self.stages:
            here = 0.0 if task in members else here + (math.inf if steps is None else steps)
            longest = max(longest, here)
        return longest
