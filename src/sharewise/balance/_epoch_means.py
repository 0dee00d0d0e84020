"""Mean losses over an epoch, by task name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._state import TaskState


class EpochMeans:
    """Adds up each task's losses in two fields of a balancer's state, so that an epoch survives a kill within it.

    Losses that are not finite are left out. Nothing waits for the device before the epoch ends.
    """

    def __init__(self, state: TaskState) -> None:
        self.state = state
        state.declare("epoch sum")
        state.declare("epoch count")

    def add(self, names: Sequence[str], losses: Tensor) -> None:
        """Count ``losses [m]`` of the named tasks."""
        seen = losses.isfinite()
        for field, values in (("epoch sum", losses.double().where(seen, 0.0)), ("epoch count", seen)):
            held = self.state.read(field, names)
            self.state.write(field, names, held + values.to(held))

    def close(self) -> tuple[list[str], Tensor]:
        """The tasks that had a loss since the last call and their means ``[k]`` (float64); the sums start anew."""
        sums, counts = self.state.tensors["epoch sum"], self.state.tensors["epoch count"]
        there = torch.nonzero(counts)[:, 0]
        names = [self.state.names[i] for i in there.tolist()]
        means = sums[there] / counts[there]
        self.state.reset("epoch sum")
        self.state.reset("epoch count")
        return names, means
