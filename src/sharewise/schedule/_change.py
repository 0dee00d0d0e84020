"""How much parameters change from one look at them to the next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..errors import ScheduleError


def trainable(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Those of the parameters that are learned; raises :class:`ScheduleError` if none is."""
    chosen = [p for p in parameters if p.requires_grad]
    if not chosen:
        raise ScheduleError(
            "no trainable parameter was given, so none can be seen to change: pass parameters=model.parameters()"
        )
    return chosen


@torch.no_grad()
def relative_change(now: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """The mean over tensors of ``|W - W_before| / |W|`` (Euclidean norms); 0 for a tensor that did not change.

    A tensor that became all zeros changed by an infinite factor. Cost: one pass over both, and one wait for the device.
    """
    ratios = []
    for new, old in zip(now, before, strict=True):
        wide = torch.promote_types(new.dtype, torch.float32)  # squares of half precision overflow
        change = torch.linalg.vector_norm(new - old, dtype=wide)
        norm = torch.linalg.vector_norm(new, dtype=wide)
        ratios.append(torch.where(change == 0, change, change / norm))
    return float(torch.stack([r.cpu().double() for r in ratios]).mean())


class ChangeTracker:
    """The relative changes of parameters between looks, the last ``window`` of them.

    What is compared with is a copy. (A reference to the live tensors would change along with them, and every change
    would be 0.)

    Memory: one copy of the trainable parameters.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.changes: list[float] = []
        self._before: list[Tensor] = []

    def look(self, parameters: Iterable[Tensor]) -> float | None:
        """The change since the last look; ``None`` for the first one.

        Raises :class:`ScheduleError` for no trainable parameter, others than before, or ones that are not finite.
        """
        now = trainable(parameters)
        change = None
        if self._before:
            if [p.shape for p in now] != [p.shape for p in self._before]:
                raise ScheduleError("the parameters are not those of the last look: give the same ones each time")
            change = relative_change(now, self._before)
            if math.isnan(change):
                raise ScheduleError("a parameter is NaN or infinite, so its change cannot be told: training diverged")
            self.changes = [*self.changes, change][-self.window :]
        self._before = [p.detach().clone() for p in now]
        return change

    @property
    def mean(self) -> float | None:
        """The mean of the last ``window`` changes; ``None`` as long as there are fewer."""
        return None if len(self.changes) < self.window else sum(self.changes) / self.window

    def clear(self) -> None:
        """Forget all."""
        self.changes, self._before = [], []

    def state_dict(self) -> dict[str, list]:
        """The changes and the copies."""
        return {"changes": list(self.changes), "before": [p.clone() for p in self._before]}

    def load_state_dict(self, state: dict[str, list]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.changes, self._before = list(state["changes"]), [p.clone() for p in state["before"]]
