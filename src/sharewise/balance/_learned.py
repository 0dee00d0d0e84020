"""One learned scalar a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import LossBalancer
from ._task_parameters import TaskParameters

_WIDEST = 60.0  # exp of more leaves float32's range


class LearnedScalars(LossBalancer):
    """A method on losses whose weights are functions of one learned scalar ``s_k`` a task, kept within limits.

    Args:
        tasks: the names of all tasks: the scalars are parameters, and an optimizer must be given
            ``balancer.parameters()`` before the first step (without weight decay; often with a larger learning rate).
        initial: ``s_k`` at the start.
        limits: smallest and largest ``s_k`` used.

    One parameter a task: a task absent from a step has no gradient, and no optimizer moves it. Saved scalars find
    their task by name.
    """

    def __init__(self, *, tasks: Sequence[str], initial: float, limits: tuple[float, float]) -> None:
        super().__init__(tasks=tasks)
        low, high = limits
        if not (-_WIDEST <= low < high <= _WIDEST and low <= initial <= high):
            raise OptionError(
                f"limits must be two ascending numbers within +-{_WIDEST} with initial between them, "
                f"got {limits} and {initial}"
            )
        if not tasks:
            raise OptionError(f"{type(self).__name__} needs at least one task: tasks=[...]")
        self.limits = (float(low), float(high))
        self.scalars = TaskParameters(tasks, torch.tensor(float(initial)))

    def scalars_of(self, names: Sequence[str]) -> Tensor:
        """``s [k]`` of the named tasks, with a graph; put back within the limits (projected gradient descent)."""
        chosen = self.scalars.of(names)
        with torch.no_grad():
            torch._foreach_clamp_min_(chosen, self.limits[0])
            torch._foreach_clamp_max_(chosen, self.limits[1])
        return torch.stack(chosen)

    def total_of(self, names: Sequence[str]) -> Tensor:
        """The sum of the scalars of the named tasks, within the limits already."""
        return torch.stack(self.scalars.of(names)).sum()
