"""Visits: one task for a while, then the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ._schedule import Schedule, Starving, check_count
from ._signal import Signal


@dataclass(frozen=True)
class Switch:
    """One change of task.

    Attributes:
        step: the step whose signal led to it; the new task is in the step after.
        left: the task that was left. entered: the one that came.
        episodes: how many signals there were of the task that was left.
        reason: in words.
        change: mean relative change of the parameters that it was decided by, where it was.
    """

    step: int
    left: str
    entered: str
    episodes: int
    reason: str
    change: float | None = None


class Visits(Schedule):
    """One task at a time, in turn; derive and say in :meth:`_reason` when a visit ends.

    An *episode* is what lies between two calls of :meth:`Schedule.observe`. ``log`` holds every :class:`Switch` so far,
    ``rounds`` the number of times that all tasks had their turn.
    """

    def __init__(self, tasks: Sequence[str], *, max_absence: int | None = None, starving: Starving = "raise") -> None:
        super().__init__(tasks, max_absence=max_absence, starving=starving)
        self.log: list[Switch] = []
        self.episodes = 0
        """Episodes of the visit so far."""
        self._turn = 0

    @property
    def current(self) -> str:
        """The task whose turn it is."""
        return self.names[self._turn % len(self.names)]

    @property
    def rounds(self) -> int:
        """How many times all tasks have had their turn."""
        return self._turn // len(self.names)

    def _choose(self, step: int) -> Sequence[str]:
        return [self.current]

    def _learn(self, step: int, signal: Signal) -> None:
        self.episodes += 1
        found = self._reason(signal)
        if found is None or len(self.names) == 1:
            return
        reason, change = found
        left = self.current
        self._turn += 1
        self.log.append(Switch(step, left, self.current, self.episodes, reason, change))
        self.episodes = 0
        self._begin_visit()

    def _reason(self, signal: Signal) -> tuple[str, float | None] | None:
        """Why the visit ends with this episode, and the change it was decided by; ``None`` if it goes on."""
        raise NotImplementedError

    def _begin_visit(self) -> None:
        """Forget what was known of the task that was left."""

    def _own_state(self) -> dict[str, Any]:
        return {"turn": self._turn, "episodes": self.episodes, "log": [asdict(s) for s in self.log]}

    def _take(self, state: Mapping[str, Any]) -> None:
        self._turn, self.episodes = state["turn"], state["episodes"]
        self.log = [Switch(**s) for s in state["log"]]


class FixedSwitch(Visits):
    """The next task after every ``episodes`` episodes: the baseline of switching that adapts.

    Args:
        tasks: see :class:`Schedule`.
        n: episodes a visit.
        max_absence, starving: see :class:`Schedule`.
    """

    def __init__(
        self, tasks: Sequence[str], n: int = 1, *, max_absence: int | None = None, starving: Starving = "raise"
    ) -> None:
        super().__init__(tasks, max_absence=max_absence, starving=starving)
        check_count("n", n)
        self.n = n
        self._check_absence(dict.fromkeys(self.names, n * (len(self.names) - 1)))

    def _reason(self, signal: Signal) -> tuple[str, float | None] | None:
        return ("fixed interval", None) if self.episodes >= self.n else None
