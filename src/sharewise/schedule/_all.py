"""All tasks in every step."""

from __future__ import annotations

from collections.abc import Sequence

from ._schedule import Schedule


class AllTasks(Schedule):
    """Every task trains in every step: joint training, the baseline of all other schedules.

    Args:
        tasks: see :class:`Schedule`.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)

    def _choose(self, step: int) -> Sequence[str]:
        return self.names
