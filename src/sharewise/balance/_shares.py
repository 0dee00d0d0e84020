"""Weights of sum one, kept by task name through steps that not every task takes part in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._state import TaskState


class Shares:
    """A point of the simplex over all tasks seen, in one field of a balancer's state; a new task counts as average.

    A step with some of the tasks works on their shares of what these hold together, and hands back as much as it took:
    those that are absent keep what they have.
    """

    def __init__(self, state: TaskState, field: str = "share") -> None:
        self.state, self.field = state, field
        state.declare(field, 1.0)

    def read(self, names: Sequence[str]) -> Tensor:
        """The shares ``[k]`` of the named tasks, of sum 1; equal ones where the tasks hold nothing together."""
        held = self.state.read(self.field, names)
        return torch.where(held.sum() > 0, held / held.sum(), 1 / len(held))

    def write(self, names: Sequence[str], shares: Tensor) -> None:
        """Keep new ``shares`` ``[k]``, of sum 1; entries that are not finite leave all as they were."""
        held = self.state.read(self.field, names)
        self.state.write(self.field, names, torch.where(shares.isfinite().all(), shares.to(held) * held.sum(), held))
