"""The numbers of a run, and what its epochs came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """The numbers of a run; see :func:`sharewise.fit` for their meaning."""

    epochs: int
    batch_size: int
    accumulate: int
    clip: float | None
    seed: int
    mode: str
    checkpoint_seconds: float


@dataclass
class EpochRecord:
    """What an epoch came to: mean losses a task, the mean relative improvement, seconds."""

    epoch: int
    train: dict[str, float]
    valid: dict[str, float]
    improvement: float
    seconds: float


class EpochLosses:
    """Sums of named losses over an epoch's batches, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Those of a batch, detached."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name].to(value) + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Name -> mean over the batches that had it; waits for the device."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts so far."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
