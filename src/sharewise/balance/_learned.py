"""One learned scalar a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OptionError
from ._balancer import LossBalancer
from ._state import decode_names, encode_names

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
        self.scalars = nn.ParameterList([nn.Parameter(torch.tensor(float(initial))) for _ in tasks])
        self._place = {name: i for i, name in enumerate(tasks)}

    def scalars_of(self, names: Sequence[str]) -> Tensor:
        """``s [k]`` of the named tasks, with a graph; put back within the limits (projected gradient descent)."""
        chosen = [self.scalars[self._place[name]] for name in names]
        with torch.no_grad():
            for s in chosen:
                s.clamp_(*self.limits)
        return torch.stack(chosen)

    def _own_state(self) -> dict[str, Tensor]:
        return super()._own_state() | {"tasks": encode_names(self.tasks or ())}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Scalars find their task by name, whatever the order the tasks were given in."""
        if prefix + "tasks" in state_dict:
            saved, keys = decode_names(state_dict[prefix + "tasks"]), prefix + "scalars."
            if set(saved) != set(self._place):
                rest[-1].append(f"the state is of tasks {saved}, this balancer was built for {list(self._place)}")
                return
            values = [state_dict.get(f"{keys}{saved.index(name)}") for name in self._place]
            state_dict.update({f"{keys}{i}": v for i, v in enumerate(values) if v is not None})
        super()._load_from_state_dict(state_dict, prefix, *rest)
