"""When to stop: the mean relative improvement of the tasks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field


@dataclass
class EarlyStopping:
    """Keeps the best epoch by the mean over tasks of ``(reference - loss) / |reference|``.

    ``reference`` is the task's validation loss before the first step, so that tasks of different units count
    alike. Training stops after ``patience`` epochs without an improvement of more than ``min_delta``;
    ``patience=None`` never stops early, but the best epoch is still kept.
    """

    patience: int | None = 10
    min_delta: float = 1e-4
    reference: dict[str, float] = field(default_factory=dict)
    best: float = -math.inf
    best_epoch: int = -1
    stale: int = 0

    def improvement(self, losses: dict[str, float]) -> float:
        """Mean relative improvement over the tasks seen both now and before the first step."""
        known = [name for name in losses if name in self.reference]
        if not known:
            return -math.inf
        return sum(
            (self.reference[name] - losses[name]) / max(abs(self.reference[name]), 1e-12) for name in known
        ) / len(known)

    def update(self, epoch: int, losses: dict[str, float]) -> bool:
        """Record an epoch's validation losses; true if it is the best so far."""
        value = self.improvement(losses)
        if value > self.best + self.min_delta or self.best_epoch < 0:
            self.best, self.best_epoch, self.stale = value, epoch, 0
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.stale >= self.patience

    def state_dict(self) -> dict:
        """Everything but the settings."""
        return {k: v for k, v in asdict(self).items() if k not in ("patience", "min_delta")}

    def load_state_dict(self, state: dict) -> None:
        """Take back what :meth:`state_dict` gave."""
        for key, value in state.items():
            setattr(self, key, value)
