"""The tasks that pay most at present, and now and then the others: a bandit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..errors import OptionError, ScheduleError
from ._schedule import Schedule, Starving, check_count
from ._signal import Signal

Driver = Literal["improvement", "uncertainty", "reward"]
DRIVERS = ("improvement", "uncertainty", "reward")


class UCB(Schedule):
    """The ``count`` tasks with the largest upper confidence bound of what training them pays.

    A task's score is ``mean + exploration sqrt(ln N / n)``, with n and N discounted counts of the steps it and all
    tasks had, and the discounted mean of its pay. A task without any step comes first, in the order given; equal scores
    too. What pays (``driver``), with ``l`` the task's loss and ``e`` its running mean before:

    - ``improvement``: ``(e - l) / |e|``, between -1 and 1: how much its loss fell.
    - ``uncertainty``: ``|e - l| / |e|``, at most 1: how little its loss could be foretold.
    - ``reward``: what :class:`Signal` says, in units of its own; scale ``exploration`` to them.

    Source: Garivier and Moulines, "On Upper-Confidence Bound Policies for Switching Bandit Problems", ALT 2011,
    discounted UCB (equations 1 and 2; ``exploration`` is ``2 B sqrt(xi)`` there). What pays is our choice.

    Args:
        tasks: see :class:`Schedule`.
        driver: what pays.
        count: tasks a step.
        exploration: from 0 on; 0 always takes the best so far.
        discount: in (0, 1]: how much a step counts one step later; 1 never forgets.
        momentum: in [0, 1): of the running mean of losses.
        max_absence, starving: see :class:`Schedule`.

    Raises :class:`ScheduleError` for a loss or reward that is not finite, or a missing reward, naming the task. Cost
    O(m); waits for the losses' device at every step.
    """

    uses: frozenset[str] = frozenset({"losses", "rewards"})

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        driver: Driver = "improvement",
        count: int = 1,
        exploration: float = 0.1,
        discount: float = 0.99,
        momentum: float = 0.9,
        max_absence: int | None = None,
        starving: Starving = "raise",
    ) -> None:
        super().__init__(tasks, max_absence=max_absence, starving=starving)
        check_count("count", count)
        if driver not in DRIVERS:
            raise OptionError(f"driver must be one of {', '.join(DRIVERS)}, got {driver!r}")
        if not (math.isfinite(exploration) and exploration >= 0):
            raise OptionError(f"exploration must be a finite number from 0 on, got {exploration}")
        if not 0 < discount <= 1:
            raise OptionError(f"discount must lie in (0, 1], got {discount}")
        if not 0 <= momentum < 1:
            raise OptionError(f"momentum must lie in [0, 1), got {momentum}")
        self.driver, self.count, self.exploration = driver, min(count, len(self.names)), float(exploration)
        self.discount, self.momentum = float(discount), float(momentum)
        self._counts = dict.fromkeys(self.names, 0.0)
        self._totals = dict.fromkeys(self.names, 0.0)
        self._means: dict[str, float] = {}

    def scores(self) -> dict[str, float]:
        """Task -> upper confidence bound; infinite for a task that had no step yet."""
        every = sum(self._counts.values())
        return {name: self._score(name, every) for name in self.names}

    def _score(self, name: str, every: float) -> float:
        count = self._counts[name]
        if count == 0:
            return math.inf
        return self._totals[name] / count + self.exploration * math.sqrt(max(0.0, math.log(every)) / count)

    def _choose(self, step: int) -> Sequence[str]:
        scores = self.scores()
        return sorted(self.names, key=lambda name: -scores[name])[: self.count]

    def _learn(self, step: int, signal: Signal) -> None:
        pays = {name: pay for name in self.names if (pay := self._pay(name, signal)) is not None}
        for name in self.names:
            self._counts[name] = self.discount * self._counts[name] + (name in pays)
            self._totals[name] = self.discount * self._totals[name] + pays.get(name, 0.0)

    def _pay(self, name: str, signal: Signal) -> float | None:
        """What training the task paid in this step; ``None`` if it did not train."""
        if self.driver == "reward":
            if name in self._current and name not in signal.rewards:
                raise ScheduleError(f'no reward of task "{name}", which trains: pass Signal(rewards={{task: value}})')
            return signal.rewards.get(name)
        loss = signal.loss(name)
        if loss is None:
            return None
        before = self._means.get(name, loss)
        self._means[name] = self.momentum * before + (1 - self.momentum) * loss
        if before == 0:
            return 0.0
        change = max(-1.0, min(1.0, (before - loss) / abs(before)))
        return abs(change) if self.driver == "uncertainty" else change

    def _own_state(self) -> dict[str, Any]:
        return {"counts": dict(self._counts), "totals": dict(self._totals), "means": dict(self._means)}

    def _take(self, state: Mapping[str, Any]) -> None:
        self._counts, self._totals = dict(state["counts"]), dict(state["totals"])
        self._means = dict(state["means"])
