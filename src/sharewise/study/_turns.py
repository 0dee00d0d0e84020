"""Who trained when, under a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..train import Callback

if TYPE_CHECKING:
    from ..balance import Balance
    from ..train import Loop


class Turns(Callback):
    """Counts the steps of each epoch that each task trained in: all of them, for a sample would beat with the cycle."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.counts: list[dict[str, int]] = []

    def on_step(self, loop: Loop, balance: Balance) -> None:
        """Count the tasks of the step."""
        while len(self.steps) <= loop.epoch:
            self.steps.append(0)
            self.counts.append({})
        self.steps[loop.epoch] += 1
        counts = self.counts[loop.epoch]
        for name in balance.names:
            counts[name] = counts.get(name, 0) + 1

    def shares(self, names: Sequence[str]) -> dict[str, list[float]]:
        """Task -> share of the steps of each epoch, 0 where the epoch had none."""
        pairs = list(zip(self.counts, self.steps, strict=True))
        return {name: [counts.get(name, 0) / max(1, steps) for counts, steps in pairs] for name in names}

    def state_dict(self) -> dict[str, Any]:
        """The counts; a copy."""
        return {"steps": list(self.steps), "counts": [dict(c) for c in self.counts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.steps, self.counts = list(state["steps"]), [dict(c) for c in state["counts"]]
