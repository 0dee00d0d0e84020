"""One task after another."""

from __future__ import annotations

from collections.abc import Sequence

from ._schedule import Schedule, Starving, check_count


class RoundRobin(Schedule):
    """``count`` tasks a step, one after another in the order given, and from the start again.

    A function of the step's number alone: each task is left out of at most ``ceil(m / count) - 1`` steps in a row.

    Args:
        tasks: see :class:`Schedule`.
        count: tasks a step.
        max_absence, starving: see :class:`Schedule`.
    """

    def __init__(
        self, tasks: Sequence[str], *, count: int = 1, max_absence: int | None = None, starving: Starving = "raise"
    ) -> None:
        super().__init__(tasks, max_absence=max_absence, starving=starving)
        check_count("count", count)
        self.count = min(count, len(self.names))
        self._check_absence(dict.fromkeys(self.names, -(-len(self.names) // self.count) - 1))

    def _choose(self, step: int) -> Sequence[str]:
        first, m = step * self.count, len(self.names)
        return [self.names[i % m] for i in range(first, first + self.count)]
