"""Uncertainty weighting: learned log-variances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OptionError, nearest
from ._balancer import LossBalancer
from ._state import decode_names, encode_names

_WIDEST = 60.0  # exp of more leaves float32's range


class Uncertainty(LossBalancer):
    """Weights each task by a learned noise level: ``sum_k f_k exp(-s_k) L_k + s_k / 2``, with ``s_k`` learned.

    ``s_k`` is the log-variance of the task's noise. The factor ``f_k`` is 1/2 for regression with a squared error
    and 1 for classification. At rest ``s_k = log(2 f_k L_k)``: the method approaches weights ``1 / L_k``, so a
    loss that goes to 0 would send its weight to infinity; ``s_k`` is therefore put back within ``limits`` before each
    use (projected gradient descent).

    Source: Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, equations 5
    to 10. Different here: the limits, and the default factor of 1 for every task (then ``s_k`` starts at weight 1
    and at rest is ``log(2 L_k)``); pass ``factors`` for the paper's own.

    Args:
        tasks: the names of all tasks: the log-variances are parameters, and an optimizer must be given
            ``balancer.parameters()`` before the first step (without weight decay; often with a larger learning rate).
        initial: ``s_k`` at the start.
        limits: smallest and largest ``s_k`` used.
        factors: task name -> ``f_k``; 1 where nothing is said.

    One parameter a task: a task absent from a step has no gradient, and no optimizer moves it.
    """

    def __init__(
        self,
        *,
        tasks: Sequence[str],
        initial: float = 0.0,
        limits: tuple[float, float] = (-10.0, 10.0),
        factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        low, high = limits
        if not (-_WIDEST <= low < high <= _WIDEST and low <= initial <= high):
            raise OptionError(
                f"limits must be two ascending numbers within +-{_WIDEST} with initial between them, "
                f"got {limits} and {initial}"
            )
        if not tasks:
            raise OptionError("uncertainty weighting needs at least one task: tasks=[...]")
        for name, factor in (factors or {}).items():
            if name not in tasks:
                raise OptionError(f'factors names task "{name}", which is not among the tasks; {nearest(name, tasks)}')
            if not (math.isfinite(factor) and factor > 0):
                raise OptionError(f'the factor of task "{name}" must be a positive number, got {factor}')
        self.limits = (float(low), float(high))
        self.factors = dict.fromkeys(tasks, 1.0) | dict(factors or {})
        self.log_variances = nn.ParameterList([nn.Parameter(torch.tensor(float(initial))) for _ in tasks])
        self._place = {name: i for i, name in enumerate(tasks)}

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``f_k exp(-s_k)``, with a graph to the log-variances."""
        known = self.check_names(len(losses), names)
        chosen = [self.log_variances[self._place[name]] for name in known]
        with torch.no_grad():
            for s in chosen:
                s.clamp_(*self.limits)
        return self._factors(losses, known) * torch.exp(-torch.stack(chosen)).to(losses)

    def objective(self, losses: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        """The weighted sum plus ``s_k / 2`` of the tasks present, read back from their weights."""
        return (weights * losses).sum() - (weights / self._factors(losses, names)).log().sum() / 2

    def _factors(self, like: Tensor, names: Sequence[str]) -> Tensor:
        return like.new_tensor([self.factors[name] for name in names])

    def _own_state(self) -> dict[str, Tensor]:
        return super()._own_state() | {"tasks": encode_names(self.tasks or ())}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Log-variances find their task by name, whatever the order the tasks were given in."""
        if prefix + "tasks" in state_dict:
            saved, keys = decode_names(state_dict[prefix + "tasks"]), prefix + "log_variances."
            if set(saved) != set(self._place):
                rest[-1].append(f"the state is of tasks {saved}, this balancer was built for {list(self._place)}")
                return
            values = [state_dict.get(f"{keys}{saved.index(name)}") for name in self._place]
            state_dict.update({f"{keys}{i}": v for i, v in enumerate(values) if v is not None})
        super()._load_from_state_dict(state_dict, prefix, *rest)
