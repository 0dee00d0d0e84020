"""Nash-MTL: the Nash bargaining solution between tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ._balancer import GramBalancer
from ._fairgrad import fair_weights


class NashMTL(GramBalancer):
    """Weights with ``M w = 1 / w``: the direction that maximises the product of the tasks' improvements.

    With ``d = sum_k w_k g_k``, ``w_k <g_k, d> = 1`` for every task: no conflict, and nothing changes when a loss is
    multiplied by a constant: the weight takes it up, ``w_k |g_k|`` and ``d`` stay.

    The solution is the one minimum of ``w^T M w / 2 - sum log w``, found by Newton's method
    (:mod:`sharewise.balance._newton`) on the cosines with 1e-12 added to their diagonal, to a relative residual of
    1e-11; the paper's sequence of convex programs approximates it. Near a Pareto-stationary point, where the exact
    weights are unbounded, ``M w w`` is 1 less that 1e-12 times the squared weight of the unit row.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, claim 3.1 and algorithm 1.

    Args:
        every: take a new decision every so many steps and keep each task's last weight between (the paper tries 1 to
            100). A task without a weight makes the step one of decision.
        max_norm: ``None``: the paper's equation as it stands; d has length sqrt(m), however long the gradients. A
            number: as the authors' code does, the weights for ``M / |M|_F``, so that d grows with the gradients, cut
            to this length (theirs is 1; ``math.inf`` never cuts).
        tasks: see :class:`Balancer`.

    A zero row has no share; its weight is 0.
    """

    step: Tensor

    def __init__(self, *, every: int = 1, max_norm: float | None = None, tasks: Sequence[str] | None = None) -> None:
        super().__init__(tasks=tasks)
        if every < 1:
            raise OptionError(f"every must be at least 1 step, got {every}")
        if max_norm is not None and not max_norm > 0:
            raise OptionError(f"max_norm must be above 0, or None for the paper's length, got {max_norm}")
        self.every = every
        self.max_norm = max_norm
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.task_state.declare("weights", float("nan"))

    def weights(self, gram: Tensor, losses: Tensor | None = None, *, names: Sequence[str] | None = None) -> Tensor:
        """Weights ``[m]`` (float64), positive. Cost O(m^3) a Newton step, some ten of them; O(m) between decisions."""
        known = self.check_names(len(gram), names)
        kept = self.task_state.read("weights", known).to(gram.device)
        if int(self.step) % self.every == 0 or bool(kept.isnan().any()):
            kept = fair_weights(gram, 1.0)
            if self.max_norm is not None:
                kept = kept * torch.linalg.matrix_norm(gram).sqrt()
            self.task_state.write("weights", known, kept)
        self.step += 1
        if self.max_norm is None:
            return kept
        length = (kept @ gram @ kept).clamp_min(0).sqrt()
        return kept * (self.max_norm / length).clamp_max(1.0) if bool(length > 0) else kept
