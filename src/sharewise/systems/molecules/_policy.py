"""What AIM's policy did during training: heat maps of thresholds and of what was removed, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...balance import AIM, Balance

if TYPE_CHECKING:
    import polars as pl


class PolicyHistory:
    """Epoch by epoch, for every ordered pair of tasks ``[T, T]`` (NaN on the diagonal and for pairs never met).

    ``thresholds``: ``tau`` at the end of the epoch; ``removed``: the mean share ``w`` removed over the epoch's steps;
    ``cosines``: the mean cosine of the gradients.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.thresholds: list[np.ndarray] = []
        self.removed: list[np.ndarray] = []
        self.cosines: list[np.ndarray] = []
        self._places = {name: i for i, name in enumerate(names)}
        self._clear()

    def _clear(self) -> None:
        size = len(self.names)
        self._sums, self._count = np.zeros((2, size, size)), np.zeros((size, size))

    def add(self, taken: Balance) -> None:
        """What a step of the model did."""
        assert taken.cosines is not None
        index = np.ix_(*2 * [[self._places[name] for name in taken.names]])
        self._sums[0][index] += taken.notes["projection"].numpy()
        self._sums[1][index] += taken.cosines.numpy()
        self._count[index] += 1

    def end_epoch(self, balancer: AIM) -> None:
        """Close the epoch's means and note its thresholds."""
        means = np.full_like(self._sums, np.nan)
        off = ~np.eye(len(self.names), dtype=bool) & (self._count > 0)
        means[:, off] = self._sums[:, off] / self._count[off]
        self.thresholds.append(balancer.thresholds(self.names).numpy())
        self.removed.append(means[0])
        self.cosines.append(means[1])
        self._clear()

    def late(self, what: str = "removed") -> np.ndarray:
        """``removed``, ``cosines`` or ``thresholds`` averaged over the last quarter of the epochs, ``[T, T]``."""
        found = np.stack(getattr(self, what))
        return np.asarray(found[-max(1, len(found) // 4) :].mean(0))

    def frame(self) -> pl.DataFrame:
        """All of it as a table, one row an epoch and ordered pair: what a heat map is drawn from."""
        import polars as pl

        size, epochs = len(self.names), len(self.thresholds)
        first, second = np.nonzero(~np.eye(size, dtype=bool))
        columns = {
            name: np.concatenate([m[first, second] for m in maps]) if epochs else np.zeros(0)
            for name, maps in (("tau", self.thresholds), ("removed", self.removed), ("cosine", self.cosines))
        }
        return pl.DataFrame(
            {
                "epoch": np.repeat(np.arange(1, epochs + 1), len(first)),
                "task": [self.names[i] for i in first] * epochs,
                "other": [self.names[j] for j in second] * epochs,
                **columns,
            }
        )
