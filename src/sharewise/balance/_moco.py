"""MoCo: min-norm weights learned on smoothed gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GradientBalancer
from ._row_state import finite
from ._simplex import project


class MoCo(GradientBalancer):
    """Follows each task's gradient by a tracker ``y_k`` and weighs the trackers by slowly learned min-norm weights.

    At step t, with P the projection on the simplex and Y the trackers as rows::

        y_k    <- y_k - beta / t^beta_decay (y_k - g_k)
        lambda <- P(lambda - gamma / t^gamma_decay (Y Y^T / s + rho I) lambda)
        d       = sum_k lambda_k y_k

    MGDA solves for the weights on the gradients of one batch, whose noise biases them; here both are averaged over
    steps, and for steady gradients the weights approach those of MGDA.

    Source: Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach",
    ICLR 2023, algorithm 1. Different here: a tracker starts at the task's first gradient, not at zero; it is not
    projected on a ball; the Gram matrix is divided by ``s``, its largest row sum of absolute values (a bound of its
    largest eigenvalue), so that ``gamma`` means the same at any scale of the losses and does not diverge below 2.

    Args:
        beta: step of the trackers, in (0, 1].
        beta_decay: how it falls with the number of steps the task was seen.
        gamma: step of the weights, in (0, 2).
        gamma_decay: how it falls with the number of decisions.
        rho: pull towards equal weights, >= 0, relative to ``s``.
        tasks: see :class:`Balancer`.

    State: a row a task. Tasks present share the weight they had together; one that is absent keeps its own. Rows that
    are not finite are passed on and not remembered. ``notes["weights"]`` holds lambda ``[m]``.
    Cost O(m^2 n) time, O(m CHUNK) memory beside the state.
    """

    steps: Tensor

    def __init__(
        self,
        *,
        beta: float = 0.5,
        beta_decay: float = 0.5,
        gamma: float = 0.1,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        if not 0 < beta <= 1:
            raise OptionError(f"beta must be above 0 (never move) and at most 1 (no memory), got {beta}")
        if not 0 < gamma < 2:
            raise OptionError(f"gamma must be between 0 and 2, beyond which the weights diverge, got {gamma}")
        for name, value in (("beta_decay", beta_decay), ("gamma_decay", gamma_decay), ("rho", rho)):
            if not 0 <= value < torch.inf:
                raise OptionError(f"{name} must be a finite number >= 0, got {value}")
        self.beta, self.beta_decay, self.gamma, self.gamma_decay, self.rho = beta, beta_decay, gamma, gamma_decay, rho
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.row_state.declare("tracker")
        self.task_state.declare("seen")
        self.task_state.declare("weight", 1.0)

    @torch.no_grad()
    def aggregate(self, rows: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """The direction ``[n]`` of rows ``[m, n]``; see :meth:`Balancer.aggregate`."""
        known, self.notes = self.check_names(len(rows), names), {}
        if not finite(rows):
            return rows.sum(0)
        self._track(rows, known)
        weights = self._weigh(self.row_state.gram("tracker", known), known)
        self.notes = {"weights": weights}
        return self.row_state.combine("tracker", known, weights).to(rows.dtype)

    def _track(self, rows: Tensor, names: Sequence[str]) -> None:
        seen = self.task_state.read("seen", names) + 1
        self.task_state.write("seen", names, seen)
        self.row_state.admit(names, rows)
        step = torch.where(seen == 1, 1.0, self.beta / seen**self.beta_decay)[:, None]
        for columns, tracker in self.row_state.pieces("tracker", names):
            tracker.lerp_(rows[:, columns].to(tracker), step.to(tracker))

    def _weigh(self, gram: Tensor, names: Sequence[str]) -> Tensor:
        self.steps += 1
        before = self.task_state.read("weight", names).to(gram)
        total = before.sum()
        weights = before / total if total > 0 else torch.full_like(before, 1 / len(names))
        largest = gram.abs().sum(1).max()
        pull = (gram / largest if largest > 0 else gram) @ weights + self.rho * weights
        weights = project(weights - self.gamma / self.steps.to(gram) ** self.gamma_decay * pull)
        weights = weights / weights.sum()
        self.task_state.write("weight", names, weights * (total if total > 0 else 1.0))
        return weights
