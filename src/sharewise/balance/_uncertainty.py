"""Uncertainty weighting: learned log-variances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..errors import OptionError, nearest
from ._learned import LearnedScalars
from ._positive import as_weights


class Uncertainty(LearnedScalars):
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
        super().__init__(tasks=tasks, initial=initial, limits=limits)
        for name, factor in (factors or {}).items():
            if name not in tasks:
                raise OptionError(f'factors names task "{name}", which is not among the tasks; {nearest(name, tasks)}')
            if not (math.isfinite(factor) and factor > 0):
                raise OptionError(f'the factor of task "{name}" must be a positive number, got {factor}')
        self.factors = dict.fromkeys(tasks, 1.0) | dict(factors or {})

    @property
    def log_variances(self) -> nn.ParameterList:
        """``s_k`` of each task, in the order the tasks were given in."""
        return self.scalars

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``f_k exp(-s_k)``, with a graph to the log-variances."""
        known = self.check_names(len(losses), names)
        scalars = self.scalars_of(known)
        factors = scalars.new_tensor([self.factors[name] for name in known])
        return as_weights(factors * (-scalars).exp(), losses, known)

    def objective(self, losses: Tensor, weights: Tensor, names: Sequence[str]) -> Tensor:
        """The weighted sum plus ``s_k / 2`` of the tasks present."""
        return (weights * losses).sum() + self.total_of(names) / 2
