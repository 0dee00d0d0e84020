"""Tasks drawn at random, all alike."""

from __future__ import annotations

from collections.abc import Sequence

from ._sampled import Sampled
from ._schedule import Starving


class RandomTasks(Sampled):
    """``count`` different tasks a step, each as likely as any other: the control of every schedule that chooses.

    Args:
        tasks, count, seed, max_absence, starving: see :class:`Sampled`.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        count: int = 1,
        seed: int = 0,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        even = {name: 1 / len(tasks) for name in tasks}
        super().__init__(tasks, proportions=even, count=count, seed=seed, max_absence=max_absence, starving=starving)
