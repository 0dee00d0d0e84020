"""FAMO: equal rates of improvement from losses alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import BalanceError, OptionError, nearest
from ._adam import adam_step
from ._balancer import LossBalancer
from ._positive import as_weights

_SMALL = 1e-8


class FAMO(LossBalancer):
    """Moves weight to the tasks that improve least, measured by a second look at the same batch after the step.

    With gaps ``D_k = L_k - bound_k + 1e-8``, logits ``xi`` and ``z = softmax(xi)`` the step is taken on
    ``c sum_k z_k log D_k`` with ``c = 1 / sum_k (z_k / D_k)`` held constant: weights ``c z_k / D_k``, which sum to 1.
    After the step, :meth:`look_again` gets the losses of the same batch, and Adam moves ``xi`` along
    ``-J^T (log D_before - log D_after)``, J the Jacobian of the softmax.

    Source: Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1, with the
    Adam step on logits and the constants of its experiments. Adam's moments and step count are kept by task, so that
    a task absent for a while comes back to its own; logits, moments and counts are state, so resuming is bit for bit.

    Args:
        lower_bounds: task name -> a number the loss never goes below; 0 where nothing is said.
        learning_rate: of the logits.
        decay: pull of the logits to zero (Adam's L2 penalty; gamma in the paper).
        tasks: see :class:`Balancer`.

    Raises :class:`BalanceError` for a loss below its bound, naming the task. Cost: one backward pass and one more
    forward pass; O(m) besides. Waits for the device.
    """

    looks_again = True

    def __init__(
        self,
        *,
        lower_bounds: Mapping[str, float] | None = None,
        learning_rate: float = 0.025,
        decay: float = 1e-3,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        for option, value in (("learning_rate", learning_rate), ("decay", decay)):
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{option} must be a number >= 0, got {value}")
        for name, bound in (lower_bounds or {}).items():
            if tasks is not None and name not in tasks:
                raise OptionError(f'lower_bounds names task "{name}", not among the tasks; {nearest(name, tasks)}')
            if not math.isfinite(bound):
                raise OptionError(f'the lower bound of task "{name}" must be a finite number, got {bound}')
        self.lower_bounds = dict(lower_bounds or {})
        self.learning_rate, self.decay = float(learning_rate), float(decay)
        self.task_state.declare("logit", torch.zeros(4))  # with Adam's state
        self.task_state.declare("log gap", math.nan)  # of the decision to look back on; NaN: none

    def weights(self, losses: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
        """``c z_k / D_k``, which sum to 1."""
        known = self.check_names(len(losses), names)
        logs = self._log_gaps(losses, known)
        self.task_state.reset("log gap")
        self.task_state.write("log gap", known, logs)
        # The softmax of the logits divided by the gaps, in logarithms: nothing over- or underflows on the way.
        logits = self.task_state.read("logit", known)[:, 0].to(logs)
        return as_weights(torch.softmax(logits - logs, 0), losses, known)

    def look_again(self, losses: Mapping[str, Tensor]) -> None:
        """Move the logits by what the step did to the losses; once a decision, later calls change nothing.

        Args:
            losses: of the same batch under the same dropout masks, recomputed after the optimizer's step; the tasks
                of the decision, others are not looked at. A task whose loss is not finite, before or after, is left
                as it is.

        Raises :class:`BalanceError` for a task of the decision that is missing.
        """
        held = zip(self.task_state.names, self.task_state.tensors["log gap"].tolist(), strict=True)
        decided = [name for name, value in held if math.isfinite(value)]
        for name in decided:
            if name not in losses:
                raise BalanceError(f'the last decision was about task "{name}": give look_again its loss as well')
        if decided:
            after = torch.stack([losses[name].detach().double() for name in decided])
            seen = after.isfinite()
            names = [name for name, finite in zip(decided, seen.tolist(), strict=True) if finite]
            if names:
                logs = self._log_gaps(after[seen], names)
                self._update(names, self.task_state.read("log gap", names).to(logs) - logs)
        self.task_state.reset("log gap")

    def _log_gaps(self, losses: Tensor, names: Sequence[str]) -> Tensor:
        """``log D`` ``[m]`` in float64."""
        bounds = torch.tensor([self.lower_bounds.get(name, 0.0) for name in names], dtype=torch.float64)
        gaps = losses.double() - bounds.to(losses.device) + _SMALL
        for name, gap, value in zip(names, gaps.tolist(), losses.tolist(), strict=True):
            if gap <= 0:
                raise BalanceError(
                    f'the loss of task "{name}" is {value:g}, below its lower bound '
                    f"{self.lower_bounds.get(name, 0.0):g}: give a lower one, lower_bounds={{{name!r}: ...}}"
                )
        return gaps.log()

    def _update(self, names: Sequence[str], gain: Tensor) -> None:
        """One step of Adam on the named tasks' logits; ``gain`` is by how much each log gap fell."""
        state = self.task_state.read("logit", names).to(gain)
        logit = state[:, 0]
        z = torch.softmax(logit, 0)
        gradient = z * (gain - (z * gain).sum()) + self.decay * logit
        self.task_state.write("logit", names, adam_step(gradient, state, self.learning_rate))
